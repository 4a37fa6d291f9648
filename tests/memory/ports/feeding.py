"""FEED as a feeder writes it, and leases, over the streams in memory. Implements processes.port.FeedLog and Lease."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import batched

from commands.port import VersionConflict
from domain.errors import TooLarge, Unavailable
from domain.recorded import FEED, Checkpoint
from infra.log.feeding import frame_of, pack_frame
from processes.port import FeedLog, Frame, Tail
from tests.memory.lifeline import Lifeline
from tests.memory.ports.streams import Entry, Streams

BODY_BYTES_MAX = 1 << 20


class MemoryFeedLog:
    """at_once: frames that are there together or not at all; a process may die between. kept: as Tail has it."""

    def __init__(self, streams: Streams, life: Lifeline | None = None, *, at_once: int = 300) -> None:
        self.streams, self.life = streams, life or Lifeline()
        self.at_once, self.down = at_once, False
        self.kept: timedelta | None = None

    async def tail(self) -> Tail:
        await self._asked()
        frames = self.streams.messages[FEED]
        return Tail(len(frames), frame_of(frames[-1]) if frames else None, self.kept)

    async def append(self, frames: Sequence[Frame], *, after: int) -> int:
        await self._asked()
        for some in batched(frames, self.at_once):
            end = len(self.streams.messages[FEED])
            if end != after:
                raise VersionConflict(f"FEED ends at {end}, not at {after}")
            after = self.streams.append(FEED, [self._entry(frame) for frame in some])[-1]
            await self.life.step("frames")
        return after

    def assert_fits(self, body: bytes) -> None:
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"more than {BODY_BYTES_MAX} bytes")

    async def noted(self) -> Checkpoint | None:
        await self._asked()
        return self.streams.noted

    async def note(self, shown: Checkpoint) -> None:
        await self._asked()
        self.streams.noted = shown

    async def _asked(self) -> None:
        await self.life.alive()
        if self.down:
            raise Unavailable("the log does not answer")

    def _entry(self, frame: Frame) -> Entry:
        packed = pack_frame(frame, self.streams.clock.now)
        return Entry(packed.subject, packed.lines, packed.body)


class MemoryLease:
    """Whoever holds it does so as long as its process lives and is awake."""

    def __init__(self, streams: Streams, name: str, life: Lifeline) -> None:
        self._streams, self._name, self.life = streams, name, life

    @property
    def is_held(self) -> bool:
        return self._streams.leases.get(self._name) is self.life

    async def take(self) -> bool:
        while True:
            await self.life.alive()
            holder = self._streams.leases.get(self._name)
            if holder is None or holder.dead.is_set() or not holder.awake.is_set():
                self._streams.leases[self._name] = self.life
                self._streams.wake()
                return True
            await self._streams.changed()

    async def keep(self) -> None:
        while self.is_held:
            await self._streams.changed()
            await self.life.alive()

    async def give_back(self) -> None:
        if self.is_held:
            del self._streams.leases[self._name]
            self._streams.wake()


async def append_frames(feed: FeedLog, *frames: Frame) -> int:
    """Behind whatever is there, as no process of ours does it; the position of the last."""
    return await feed.append(frames, after=(await feed.tail()).end)
