"""Who has a push token now: the read models' word, once they have caught up with the log.

Implements commands.port.TokenOwners. Never decides anything.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from domain.errors import Unavailable
from domain.recorded import EVENTS
from processes.models.watermark import Watermark
from processes.port import Log
from projections import reach
from projections.port import ReadModels

WAIT_S_MAX: Final = 0.5
"""For read models that are behind: a device waits for this, and is answered without."""


class CaughtUpOwners:
    def __init__(self, log: Log, models: ReadModels, watermark: Watermark) -> None:
        self._log, self._models, self._watermark = log, models, watermark

    async def has_lost(self, realm: str, client: UUID, token: UUID) -> bool:
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                end = await self._log.end(EVENTS)
                await self._watermark.passed(("reach",), EVENTS, end, timeout_s=WAIT_S_MAX)
                [is_owned] = await reach.owned(self._models, realm, [(token, client)])
        except (TimeoutError, Unavailable):
            return False
        return not is_owned
