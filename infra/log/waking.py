"""One reader's wait for what the log brings: until it is woken, or it is time to look whether anybody still answers."""

from __future__ import annotations

import asyncio


class Waker:
    """Of one task. beat_s: it waits no longer than this.

    Hot path: one timer for all waits, and a plain future for each: an event with a time-out costs several times that,
    and a message wakes its readers dozens of times on its way.
    """

    def __init__(self, beat_s: float) -> None:
        self._beat_s = beat_s
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Whoever waits goes on. Nobody is remembered to have been woken who did not wait: look before you wait."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(self._beat_s, self._beat)
        self._waiting = loop.create_future()
        await self._waiting

    def close(self) -> None:
        """Nobody will wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = None
        self.wake()
