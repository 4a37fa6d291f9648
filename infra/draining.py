"""The log as a role sees it that is to end: what hands out facts stops, all else goes on.

So a process finishes what it has in hand and acknowledges it, and takes nothing new. Nothing is lost either way:
what was handed out and not acknowledged is handed out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

from domain.recorded import Checkpoint, Recorded
from processes.port import Log, Poison, Task


def draining(log: Log, stop: asyncio.Event) -> Log:
    """`log`, whose `work` and `follow` end once `stop` is set."""
    return cast("Log", _Draining(log, stop))


class _Draining:
    def __init__(self, log: Log, stop: asyncio.Event) -> None:
        self._log, self._stop = log, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def work(self, stream: str, durable: str, **options: Any) -> AsyncIterator[Task]:
        return until(self._log.work(stream, durable, **options), self._stop)

    def follow(
        self, stream: str, start: Checkpoint | None, **options: Any
    ) -> AsyncIterator[Sequence[Recorded | Poison]]:
        return until(self._log.follow(stream, start, **options), self._stop)


async def until[T](items: AsyncIterator[T], stop: asyncio.Event) -> AsyncGenerator[T]:
    """The items up to the stop, in order; the iterator is closed at the end."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            coming = asyncio.ensure_future(_next(items))
            try:
                await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait((coming,))
            if coming.cancelled():
                return
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        stopping.cancel()
        if isinstance(items, AsyncGenerator):
            await items.aclose()


async def _next[T](items: AsyncIterator[T]) -> T:
    return await anext(items)
