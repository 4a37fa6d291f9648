"""The app that a path names: nearly always from memory, else looked up, at somebody's expense.

A code is anybody's word, and a look costs reads of the log's leaders. So looks are counted by network address before
anybody is asked, and refused beyond a limit; but never a refresh, whose failure costs a device the call that it was
for. Refreshes beyond the limit wait in line instead, so that an address has one look of theirs under way.
"""

from __future__ import annotations

from starlette.types import Scope

from api.emarsys import limits
from api.emarsys.dialect import UnknownApp
from api.emarsys.limits import DeviceLimitExceeded
from api.emarsys.patience import patiently
from api.parts import Parts
from domain.app import AppFacts
from processes.directories import Toll

REFRESH_PATIENCE_S = 3.0
"""For the app of a refresh: half of what the refresh itself may take, since both are one answer."""


async def app_of_path(parts: Parts, scope: Scope) -> AppFacts:
    """Raises UnknownApp, DeviceLimitExceeded or Unavailable."""
    return await app_of(parts, scope["path_params"]["app"], toll=toll_of(parts, address_of(scope)))


async def app_of_refresh(parts: Parts, scope: Scope) -> AppFacts:
    """Raises UnknownApp, or Unavailable when the app could not be looked up for a while."""
    code, address = scope["path_params"]["app"], address_of(scope)
    toll = toll_of(parts, address)

    async def look() -> AppFacts:
        try:
            return await app_of(parts, code, toll=toll)
        except DeviceLimitExceeded:
            async with parts.lines.turn(address):
                return await app_of(parts, code)

    return await patiently(look, patience_s=REFRESH_PATIENCE_S)


async def app_of(parts: Parts, code: str, *, toll: Toll | None = None) -> AppFacts:
    """Raises UnknownApp or Unavailable, or what the toll for a look-up raises."""
    app = await parts.apps.app(code, toll=toll)
    if app is None:
        raise UnknownApp("there is no app with this code", field="app")
    return app


def toll_of(parts: Parts, address: str) -> Toll:
    """For a code that is the word of a caller at this network address."""

    def toll() -> None:
        limits.take_look_up(parts.counter, parts.now_s(), address)

    return toll


def address_of(scope: Scope) -> str:
    """The caller's, as the server in front of us tells it."""
    return scope["client"][0] if scope.get("client") else ""
