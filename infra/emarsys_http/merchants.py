"""Merchant settings from a service: `GET /merchants/{id}/settings`, remembered for a while: every token needs them.

Owns what is remembered. What a service that is away has said before holds until it is back.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import msgspec
import structlog
from msgspec.structs import replace

from domain.errors import Unavailable
from infra.apps.merchants import WithApps
from infra.emarsys_http.service import Absent, Denied, Service
from infra.flights import Flights
from processes.directories import MerchantSettings, Unreadable

log = structlog.get_logger()

MERCHANTS_MAX: Final = 10_000
"""Remembered, some hundred bytes each; the one unused for longest is forgotten first."""
UNKNOWN_MAX: Final = 10_000
"""Names of no merchant remembered, apart from the merchants, so that a flood of invented names pushes out none."""
UNKNOWN_S: Final = 30.0
"""How long it is remembered that there is none, or that nobody can say: who has just been made known waits little, and
who can't be asked is not asked with every call of a device."""
FRESH_S: Final = 300.0
"""Nobody tells us of a change: this late at most."""


class _Remembered(msgspec.Struct, frozen=True):
    """is_known: whether the service knows the merchant; else the settings are the defaults. is_held: it had nothing new
    to say when it was asked last. fault: why what it says of the merchant cannot be read; the settings are of before.
    """

    settings: MerchantSettings
    until_s: float
    is_known: bool = True
    is_held: bool = False
    fault: str = ""

    @property
    def is_riddle(self) -> bool:
        """Whether nobody can say anything of the merchant, though the service has answered."""
        return bool(self.fault) and not self.is_known


class HttpMerchants:
    """processes.directories.Merchants."""

    def __init__(
        self, service: Service, apps: WithApps, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._service, self._apps, self._now_s = service, apps, now_s
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._unknown: OrderedDict[str, _Remembered] = OrderedDict()
        self._flights: Flights[str, _Remembered] = Flights()

    def known(self, merchant: str) -> MerchantSettings | None:
        found = self._known(merchant)
        return None if found is None or found.is_riddle else found.settings

    async def settings(self, merchant: str) -> MerchantSettings:
        return (await self._find(merchant)).settings

    async def is_known(self, merchant: str) -> bool:
        """An app of its own makes it known, whatever the service says, or does not say."""
        try:
            if (await self._find(merchant)).is_known:
                return True
        except Unavailable:
            if await self._apps.has_app(merchant):
                return True
            raise
        return await self._apps.has_app(merchant)

    def _known(self, merchant: str) -> _Remembered | None:
        remembered = self._remembered.get(merchant) or self._unknown.get(merchant)
        if remembered is None or remembered.until_s <= self._now_s():
            return None
        if remembered.is_known:
            self._remembered.move_to_end(merchant)
        return remembered

    async def _find(self, merchant: str) -> _Remembered:
        """Raises Unavailable."""
        found = self._known(merchant) or self._held(merchant)
        if found is None:
            found = await self._flights.share(merchant, lambda: self._look_up(merchant))
        if found.is_riddle:
            raise Unreadable(found.fault)
        return found

    def _held(self, merchant: str) -> _Remembered | None:
        """What is known of before, while somebody else waits for news that did not come the last time."""
        former = self._remembered.get(merchant)
        return former if former is not None and former.is_held and merchant in self._flights else None

    async def _look_up(self, merchant: str) -> _Remembered:
        try:
            settings = await self._ask(merchant)
        except Unavailable as error:
            return self._without_answer(merchant, error)
        self._remembered.pop(merchant, None)
        self._unknown.pop(merchant, None)
        if settings is None:
            defaults = MerchantSettings(merchant=merchant)
            nobody = _Remembered(defaults, self._now_s() + UNKNOWN_S, is_known=False)
            return _add(self._unknown, merchant, nobody, UNKNOWN_MAX)
        known = _Remembered(settings, self._now_s() + FRESH_S)
        return _add(self._remembered, merchant, known, MERCHANTS_MAX)

    def _without_answer(self, merchant: str, error: Unavailable) -> _Remembered:
        """What was known before, for a while longer; of an answer that cannot be read, that it is one. Raises the error
        where there is neither.
        """
        outdated, fault = self._remembered.get(merchant), ""
        if isinstance(error, Unreadable):
            fault, former = error.detail, outdated or self._unknown.get(merchant)
            if former is None or former.fault != fault:
                log.warning("merchant-unreadable", merchant=merchant, reason=fault)
        until_s = self._now_s() + UNKNOWN_S
        if outdated is not None:
            held = replace(outdated, until_s=until_s, is_held=True, fault=fault)
            return _add(self._remembered, merchant, held, MERCHANTS_MAX)
        if not fault:
            raise error
        riddle = _Remembered(
            MerchantSettings(merchant=merchant), until_s, is_known=False, is_held=True, fault=fault
        )
        return _add(self._unknown, merchant, riddle, UNKNOWN_MAX)

    async def _ask(self, merchant: str) -> MerchantSettings | None:
        """None of a merchant that the service does not know."""
        path = f"/merchants/{quote(merchant, safe='')}/settings"
        found = await self._service.get(path, dict[str, object])
        if isinstance(found, Absent | Denied):
            return None
        try:
            return msgspec.convert({**found, "merchant": merchant}, MerchantSettings)
        except msgspec.ValidationError as error:
            raise Unreadable(f"{self._service.name} has settings that cannot be: {error}") from error


def _add(memory: OrderedDict[str, _Remembered], merchant: str, entry: _Remembered, most: int) -> _Remembered:
    memory[merchant] = entry
    while len(memory) > most:
        memory.popitem(last=False)
    return entry
