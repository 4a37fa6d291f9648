"""Destroys the keys of days gone by: what dispatches hid, addresses and contents, can't be read again by anybody.

Any number of processes may do it at once; a key that is destroyed stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from commands.port import KeyStore
from processes.sealing import day_key

log = structlog.get_logger(__name__)

KEPT_DAYS = 35
"""A message lives four weeks at most, and each try is sealed under the key of its own day."""
EVERY_S = 3_600.0
FIRST_LOOK_DAYS, LOOK_DAYS = 400, 7
"""Days before those kept whose keys are looked for: at the start, after a long standstill perhaps, and from then on."""


class DayKeys:
    def __init__(self, *, keys: KeyStore, clock: Callable[[], datetime]) -> None:
        self._keys, self._clock = keys, clock

    async def run(self) -> None:
        """For ever. Raises Unavailable when the keys can't be reached: start it again."""
        days = FIRST_LOOK_DAYS
        while True:
            await self.tidy(days)
            days = LOOK_DAYS
            await asyncio.sleep(EVERY_S)

    async def tidy(self, days: int) -> None:
        """Destroy what is left of the keys of `days` days before those that are kept."""
        oldest_kept = self._clock() - timedelta(days=KEPT_DAYS)
        names = [day_key(oldest_kept - timedelta(days=before)) for before in range(1, days + 1)]
        for name in await self._keys.keys(names):
            await self._keys.destroy(name)
            log.info("day_key_destroyed", key=name)
