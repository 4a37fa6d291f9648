"""What all routes of devices have in common: how their paths begin, who is let in, and what is answered to others."""

from __future__ import annotations

from typing import Any

from api.emarsys.dialect import BadClientId, UnknownApp
from api.emarsys.door import Door
from api.emarsys.interactions import note
from api.route import Dialect, Handler, Route, Who
from domain.errors import MsgxcError, TooMany, Unauthenticated, Unavailable

V3_BASES = ("/v3/apps/{app}", "/v3/domains/{app}")
"""The second is what builds of the web SDK say."""
V4_BASE = "/v4/apps/{app}"
V5_BASES = ("/v5/apps/{app}", "/v5/domains/{app}")

Errors = tuple[type[MsgxcError], ...]
ERRORS: Errors = (UnknownApp, BadClientId, Unauthenticated, TooMany, Unavailable)


def device_route(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    *,
    group: str,
    dialect: Dialect,
    door: Door,
    errors: Errors = ERRORS,
    **more: Any,
) -> Route:
    """more: as Route has it."""
    return Route(
        method=method,
        path=path,
        handler=handler,
        who=Who.DEVICE,
        summary=summary,
        group=group,
        admit=door,
        dialect=dialect,
        errors=errors,
        **{"noted": note, **more},
    )
