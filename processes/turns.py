"""First come, first served: what began earlier shows first, though much of the work goes on side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable


class Turn:
    """A place in a queue, taken when it is made."""

    def __init__(self, queue: dict[Hashable, asyncio.Future[None]], key: Hashable) -> None:
        self._queue, self._key = queue, key
        self._before = queue.get(key)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[key] = self._done

    async def come(self) -> None:
        """Return when all who came before have ended theirs."""
        if self._before is not None and not self._before.done():
            await asyncio.wait((self._before,))

    def end(self) -> None:
        """Let the next one go; ending it twice is fine."""
        if not self._done.done():
            self._done.set_result(None)
        if self._queue.get(self._key) is self._done:
            del self._queue[self._key]


class Turns:
    """One queue for each key."""

    def __init__(self) -> None:
        self._queue: dict[Hashable, asyncio.Future[None]] = {}

    def take(self, key: Hashable) -> Turn:
        """A place behind all who took theirs before."""
        return Turn(self._queue, key)
