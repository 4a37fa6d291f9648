"""Reading one's own writes: a caller that has just written gets answers that know of it.

Others may see read models that are a moment old. Never keeps a caller waiting for long: a projector that is far
behind gives older answers, not errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.port import EventReader
from domain.context import Caller
from domain.recorded import EVENTS
from processes.watermark import Watermark

RECENT_S = 10.0
"""How long after its last write a caller is waited for."""
WAIT_S_MAX = 1.0
CALLERS_MAX = 10_000
"""Writers remembered; the one that wrote first is forgotten first."""


class OwnWrites:
    def __init__(self, events: EventReader, watermark: Watermark, *, now_s: Callable[[], float]) -> None:
        self._events, self._watermark, self._now_s = events, watermark, now_s
        self._wrote_s: dict[tuple[str, str], float] = {}

    def note(self, caller: Caller) -> None:
        """The caller has written something."""
        key = (caller.realm, caller.uid)
        self._wrote_s.pop(key, None)
        if len(self._wrote_s) >= CALLERS_MAX:
            del self._wrote_s[next(iter(self._wrote_s))]
        self._wrote_s[key] = self._now_s()

    async def seen(self, caller: Caller, projections: Sequence[str]) -> None:
        """Return once the projections have what the caller wrote, or after WAIT_S_MAX."""
        wrote_s = self._wrote_s.get((caller.realm, caller.uid))
        if wrote_s is None or self._now_s() - wrote_s > RECENT_S:
            return
        end = await self._events.end()
        try:
            await self._watermark.passed(projections, EVENTS, end, timeout_s=WAIT_S_MAX)
        except TimeoutError:
            return
