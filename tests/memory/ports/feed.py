"""The API's ports over the streams in memory: FEED live and past, events by position."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from api.port import FeedCallback, FeedEntry, Unsubscribe
from domain.errors import Unavailable
from domain.recorded import EVENTS, FEED, Recorded
from infra.log.feeding import frame_of
from infra.nats.wire.frames import Stored
from tests.memory.ports.log import MemoryLog
from tests.memory.ports.streams import Streams


class MemoryFeed:
    """api.port.FeedReader. `run` must be running for anything to come live.

    lose: how many of the next live frames are lost on their way. down: every call fails, as long as it is set. kept:
    how many frames of one subject are kept; 0: all.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._callbacks: dict[str, list[tuple[int, FeedCallback]]] = {}
        self._last: dict[str, int] = {}
        self._told = 0
        self.lose = 0
        self.down = False
        self.reads = 0
        self.kept = 0

    async def run(self) -> None:
        while True:
            for stored in self._streams.messages[FEED][self._told :]:
                self._tell(stored)
            await self._streams.changed()

    def _tell(self, stored: Stored) -> None:
        previous, self._last[stored.subject] = self._last.get(stored.subject, 0), stored.sequence
        self._told = stored.sequence
        if self.lose and stored.subject in self._callbacks:
            self.lose -= 1
            return
        for start, callback in list(self._callbacks.get(stored.subject, ())):
            if stored.sequence > start:
                callback(stored.sequence, previous, stored.subject, stored.data)

    async def epoch(self) -> str:
        await self._asked()
        return self._streams.epochs[FEED]

    async def bounds(self) -> tuple[int, int]:
        await self._asked()
        kept = self._streams.messages[FEED]
        return 1, len(kept)

    async def kept_per_subject(self) -> int:
        await self._asked()
        return self.kept

    async def since(self, subjects: Sequence[str], after: int, limit: int) -> list[FeedEntry]:
        await self._asked()
        self.reads += 1
        found = [
            (stored.sequence, stored.subject, stored.data)
            for subject in dict.fromkeys(subjects)
            for stored in self._streams.on_subject(FEED, subject)[-self.kept :]
            if stored.sequence > after
        ]
        return sorted(found)[:limit]

    async def last(self, subjects: Sequence[str]) -> dict[str, int]:
        await self._asked()
        found = {subject: self._streams.last_position(FEED, subject) for subject in subjects}
        return {subject: position for subject, position in found.items() if position}

    async def first_after(self, subject: str, event: int) -> int:
        await self._asked()
        kept = self._streams.on_subject(FEED, subject)
        return next((stored.sequence for stored in kept if frame_of(stored).position > event), 0)

    async def subscribe(self, subject: str, callback: FeedCallback) -> Unsubscribe:
        await self._asked()
        entry = (len(self._streams.messages[FEED]), callback)
        self._callbacks.setdefault(subject, []).append(entry)

        async def unsubscribe() -> None:
            self._callbacks[subject].remove(entry)
            if not self._callbacks[subject]:
                del self._callbacks[subject]

        return unsubscribe

    @property
    def followed(self) -> set[str]:
        return set(self._callbacks)

    async def _asked(self) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the log does not answer")


class MemoryEvents:
    """api.port.EventReader."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def epoch(self) -> str:
        return await self._log.epoch(EVENTS)

    async def end(self) -> int:
        return await self._log.end(EVENTS)

    async def after(self, position: int, limit: int) -> list[Recorded]:
        found = self._log.streams.messages[EVENTS][position : position + limit]
        return [self._log.unpack(EVENTS, stored) for stored in found]
