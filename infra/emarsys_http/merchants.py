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

from domain.errors import Unavailable
from infra.emarsys_http.service import Absent, Denied, Service
from infra.flights import Flights
from processes.directories import MerchantSettings

MERCHANTS_MAX: Final = 10_000
"""Remembered, some hundred bytes each; the one unused for longest is forgotten first."""
FRESH_S: Final = 300.0
"""Nobody tells us of a change: this late at most."""


class _Remembered(msgspec.Struct, frozen=True):
    settings: MerchantSettings
    until_s: float


class HttpMerchants:
    """processes.directories.Merchants."""

    def __init__(self, service: Service, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._service, self._now_s = service, now_s
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._flights: Flights[str, MerchantSettings] = Flights()

    async def settings(self, merchant: str) -> MerchantSettings:
        remembered = self._remembered.get(merchant)
        if remembered is not None and remembered.until_s > self._now_s():
            self._remembered.move_to_end(merchant)
            return remembered.settings
        return await self._flights.share(merchant, lambda: self._look_up(merchant))

    async def _look_up(self, merchant: str) -> MerchantSettings:
        try:
            settings = await self._ask(merchant)
        except Unavailable:
            outdated = self._remembered.get(merchant)
            if outdated is None:
                raise
            return outdated.settings
        self._remembered[merchant] = _Remembered(settings, self._now_s() + FRESH_S)
        self._remembered.move_to_end(merchant)
        while len(self._remembered) > MERCHANTS_MAX:
            self._remembered.popitem(last=False)
        return settings

    async def _ask(self, merchant: str) -> MerchantSettings:
        path = f"/merchants/{quote(merchant, safe='')}/settings"
        found = await self._service.get(path, dict[str, object])
        if isinstance(found, Absent | Denied):
            return MerchantSettings(merchant=merchant)
        try:
            return msgspec.convert({**found, "merchant": merchant}, MerchantSettings)
        except msgspec.ValidationError as error:
            raise Unavailable(f"{self._service.name} has settings that cannot be: {error}") from error
