"""How far the read models have come, so that nobody decides on rows that are older than the fact in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from projections.port import ReadModels

POLL_S = 0.02
"""How often a process without a projector of its own asks the store's checkpoints while it waits."""


class Watermark:
    """Told by the projector in the same process, or read from the store's checkpoints.

    local: a projector in this process advances it. Positions only grow.
    """

    def __init__(self, models: ReadModels, *, local: bool) -> None:
        self._models, self._local = models, local
        self._applied: dict[tuple[str, str], int] = {}
        self._wakers: set[asyncio.Future[None]] = set()

    def advance(self, projection: str, stream: str, position: int) -> None:
        key = (projection, stream)
        if position > self._applied.get(key, -1):
            self._applied[key] = position
            for waker in self._wakers:
                if not waker.done():
                    waker.set_result(None)
            self._wakers.clear()

    def applied(self, projections: Sequence[str], stream: str) -> int:
        """The position that all of `projections` have passed, as far as this process knows."""
        return min(self._applied.get((name, stream), 0) for name in projections)

    async def passed(
        self, projections: Sequence[str], stream: str, position: int, *, timeout_s: float = 30.0
    ) -> None:
        """Return once all of `projections` have applied `position`. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.applied(projections, stream) < position:
                await self._next(projections, stream)

    async def _next(self, projections: Sequence[str], stream: str) -> None:
        if self._local:
            waker = asyncio.get_running_loop().create_future()
            self._wakers.add(waker)
            try:
                await waker
            finally:
                self._wakers.discard(waker)
            return
        for name in projections:
            checkpoint = await self._models.checkpoint(name, stream)
            if checkpoint is not None:
                self.advance(name, stream, checkpoint.position)
        await asyncio.sleep(POLL_S)
