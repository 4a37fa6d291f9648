"""Reading what was just written: an answer knows of every write that this process has answered before, in its realm.

Read models are a moment behind the log. Never keeps a caller waiting for long: a projector that is far behind gives
older answers, not errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.port import EventReader
from domain.recorded import EVENTS
from processes.models.watermark import Watermark

RECENT_S = 10.0
"""How long after its last write a realm's readers are kept waiting; by then a projector has long passed it."""
WAIT_S_MAX = 1.0
REALMS_MAX = 10_000
"""Realms remembered; the one written first is forgotten first."""


class RecentWrites:
    def __init__(self, events: EventReader, watermark: Watermark, *, now_s: Callable[[], float]) -> None:
        self._events, self._watermark, self._now_s = events, watermark, now_s
        self._wrote_s: dict[str, float] = {}

    def note(self, realm: str) -> None:
        """Something has been written."""
        if realm not in self._wrote_s and len(self._wrote_s) >= REALMS_MAX:
            del self._wrote_s[next(iter(self._wrote_s))]
        self._wrote_s[realm] = self._now_s()

    async def seen(self, realm: str, projections: Sequence[str]) -> None:
        """Return once the projections have what was written before this call, or after WAIT_S_MAX.

        Raises Unavailable.
        """
        wrote_s = self._wrote_s.get(realm)
        if wrote_s is None or self._now_s() - wrote_s > RECENT_S:
            return
        end = await self._events.end()
        try:
            await self._watermark.passed(projections, EVENTS, end, timeout_s=WAIT_S_MAX)
        except TimeoutError:
            return
