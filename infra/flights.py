"""One look-up at a time for each key: a thousand callers who miss together ask once.

Owns the look-ups under way. Never keeps an answer after it has been given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Flights[K, V]:
    """Whoever asks while a look-up is under way gets its answer, or its failure.

    A caller who gives up ends nothing for the others; a look-up bounds its own time.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}
        self._parted: set[asyncio.Task[V]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    async def share(self, key: K, look_up: Callable[[], Coroutine[Any, Any, V]]) -> V:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(look_up())
            flight.add_done_callback(lambda ended: self._land(key, ended))
        return await asyncio.shield(flight)

    def part(self, key: K) -> None:
        """What is under way may be behind: who asks from now on begins anew."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._parted.add(flight)

    async def aclose(self) -> None:
        """End what is under way, for whoever waits too."""
        flights = [*self._flights.values(), *self._parted]
        for flight in flights:
            flight.cancel()
        if flights:
            await asyncio.wait(flights)

    def _land(self, key: K, ended: asyncio.Task[V]) -> None:
        if self._flights.get(key) is ended:
            del self._flights[key]
        self._parted.discard(ended)
        if not ended.cancelled():
            ended.exception()  # if nobody waits any more, nobody has to be told
