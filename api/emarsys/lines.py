"""Lines of callers, one for each network address, where each waits for the one before.

Owns how many may wait, and for how long. Knows nothing of what they wait for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import Unavailable

WAIT_S_MAX = 2.0
"""For a turn: an SDK waits 10 s for its answer, and there is more to do for it."""
WAITING_MAX = 500
"""In all lines of a process; each is an open request, and at the end of so long a line a turn would come too late."""


class Lines:
    """For one process."""

    def __init__(self, *, wait_s_max: float = WAIT_S_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._wait_s_max, self._waiting_max = wait_s_max, waiting_max
        self._locks: dict[str, asyncio.Lock] = {}
        self._callers: Counter[str] = Counter()

    def __len__(self) -> int:
        """Addresses that have a line now."""
        return len(self._locks)

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Within, nobody else of the address has a turn. First come, first served. Raises Unavailable."""
        if self._callers.total() >= self._waiting_max:
            raise Unavailable("too many are waiting for a look-up; try again")
        lock = self._locks.setdefault(address, asyncio.Lock())
        self._callers[address] += 1
        try:
            await self._come_up(lock)
            try:
                yield
            finally:
                lock.release()
        finally:
            self._callers[address] -= 1
            if not self._callers[address]:
                del self._callers[address], self._locks[address]

    async def _come_up(self, lock: asyncio.Lock) -> None:
        try:
            async with asyncio.timeout(self._wait_s_max):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("too many of this network address are waiting; try again") from None
