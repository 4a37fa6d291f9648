"""The log in memory. Implements processes.port.Log; each process has a connection of its own."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from domain.errors import Unavailable
from domain.recorded import DELIVERY, Checkpoint, Recorded, kind_of
from infra.eventstore.wire import digest_of, pack_delivery, unpack
from infra.nats.wire.frames import Stored
from processes.port import Append, LogMismatch, Poison, Task
from tests.memory.lifeline import Lifeline
from tests.memory.ports.event_store import CATALOGUE
from tests.memory.ports.keys import MemoryKeyStore
from tests.memory.ports.streams import Aside, Durable, Entry, Planned, Streams, matches


class MemoryTask:
    """processes.port.Task."""

    def __init__(self, log: MemoryLog, durable: Durable, stored: Stored, deliveries: int) -> None:
        self._log, self._durable, self._stored = log, durable, stored
        self.stream, self.subject, self.position = durable.stream, stored.subject, stored.sequence
        self.raw, self.deliveries = stored.data, deliveries
        self.done = asyncio.Event()

    def is_kept(self) -> bool:
        """The heart of a worker beats in seconds of the world; here time jumps, and it beats as long as it could."""
        life = self._log.life
        return self._log.keeps and life.awake.is_set() and not life.dead.is_set() and not self.done.is_set()

    @property
    def fact(self) -> Recorded:
        return self._log.unpack(self.stream, self._stored)

    async def ack(self) -> None:
        self.done.set()
        if await self._log.tell("ack"):
            self._log.streams.acknowledge(self._durable, self.position)
            await self._log.life.step(f"ack {self.subject.split('.')[0]}")

    async def extend(self) -> None:
        if await self._log.tell("extend"):
            self._log.streams.postpone(self._durable, self.position, self._durable.ack_wait_s)

    async def give_back(self, *, delay_s: float = 0.0) -> None:
        self.done.set()
        if await self._log.tell("give back"):
            self._log.streams.postpone(self._durable, self.position, delay_s)


class MemoryLog:
    """down: every call fails, as long as it is set. keeps: facts at work here are not handed out again meanwhile."""

    def __init__(self, streams: Streams, keys: MemoryKeyStore, *, life: Lifeline | None = None) -> None:
        self.streams, self._keys = streams, keys
        self.life = life or Lifeline()
        self.down, self.keeps = False, True

    def unpack(self, stream: str, stored: Stored) -> Recorded:
        """Raises ValueError for a message that is no fact."""
        names = [name] if (name := stored.headers.get("Key")) else []
        return unpack(stored, stream, CATALOGUE, self._keys.resolve(names))

    async def tell(self, word: str) -> bool:
        """Whether a word to the server arrives; as with the real one, a lost word is no error."""
        await self.life.alive()
        if word == "ack" and self.life.loses_word():
            return False
        return not self.down

    async def epoch(self, stream: str) -> str:
        return self.streams.epochs[stream]

    async def follow(
        self, stream: str, start: Checkpoint | None, *, subjects: Sequence[str] = (), batch: int = 500
    ) -> AsyncIterator[Sequence[Recorded | Poison]]:
        await self._asked()
        self._assert_continues(stream, start)
        position = start.position if start else 0
        while True:
            await self.life.alive()
            found = [
                stored
                for stored in self.streams.messages[stream][position:]
                if not subjects or any(matches(subject, stored.subject) for subject in subjects)
            ][:batch]
            if found and not self.down:
                position = found[-1].sequence
                yield [self._fact_or_poison(stream, stored) for stored in found]
            else:
                await self.streams.changed()

    async def work(
        self,
        stream: str,
        durable: str,
        *,
        subjects: Sequence[str],
        ack_wait_s: float = 30.0,
        in_flight: int = 8,
        topics: Collection[str] = (),
    ) -> AsyncIterator[Task]:
        shared = self.streams.durables.setdefault(durable, Durable(stream, subjects, ack_wait_s))
        assert (shared.stream, list(shared.subjects)) == (stream, list(subjects)), "a durable is one thing"
        out: list[MemoryTask] = []
        while True:
            await self.life.alive()
            out = [task for task in out if not task.done.is_set()]
            taken = None if self.down or len(out) >= in_flight else self.streams.take(shared)
            if taken is None:
                await self.streams.changed()
                continue
            if topics and kind_of(taken[0].headers.get("Topic", "")) not in map(kind_of, topics):
                self.streams.acknowledge(shared, taken[0].sequence)
                continue
            task = MemoryTask(self, shared, *taken)
            shared.pending[task.position].is_kept = task.is_kept
            out.append(task)
            yield task

    async def append(self, *records: Append) -> list[int]:
        packed = [
            (pack_delivery(each.subject, each.record, at=self._now(), correlation=each.correlation), each)
            for each in records
        ]
        entries = [Entry(found.subject, found.lines, found.body, each.expect) for found, each in packed]
        return await self.put(DELIVERY, entries)

    async def last(self, stream: str, subject: str) -> Recorded | None:
        await self._asked()
        found = self.streams.on_subject(stream, subject)
        return self.unpack(stream, found[-1]) if found else None

    async def read(self, stream: str, subject: str, *, after: int = 0, limit: int = 1000) -> list[Recorded]:
        await self._asked()
        found = [stored for stored in self.streams.on_subject(stream, subject) if stored.sequence > after]
        return [self.unpack(stream, stored) for stored in found[:limit]]

    async def end(self, stream: str) -> int:
        await self._asked()
        return len(self.streams.messages[stream])

    async def passed(self, stream: str, subject: str, position: int, applied: int) -> bool:
        await self._asked()
        found = self.streams.on_subject(stream, subject)
        return not any(applied < stored.sequence <= position for stored in found)

    async def schedule(self, id: str, due: datetime, *, target: str, body: bytes) -> None:
        await self._asked()
        self.streams.schedule(id, Planned(due, target, body))
        await self.life.step("schedule")

    async def unschedule(self, id: str) -> None:
        await self._asked()
        self.streams.schedules.pop(id, None)
        await self.life.step("unschedule")

    async def triage(self, source: str, subject: str, *, reason: str, body: bytes, position: int) -> None:
        await self._asked()
        at = self.streams.clock.now
        self.streams.aside[source, subject, position] = Aside(source, subject, reason, body, position, at)
        await self.life.step("triage")

    async def triaged(self, source: str, *, since: datetime | None = None) -> dict[str, list[int]]:
        await self._asked()
        positions: dict[str, list[int]] = {}
        for each in self.streams.aside.values():
            if each.source == source and (since is None or each.at >= since):
                insort(positions.setdefault(each.subject, []), each.position)
        return positions

    async def put(self, stream: str, entries: Sequence[Entry]) -> list[int]:
        """Append to any stream; the positions."""
        await self._asked()
        positions = self.streams.append(stream, entries)
        await self.life.step(f"append {' '.join(entry.subject.split('.')[0] for entry in entries)}")
        return positions

    async def _asked(self) -> None:
        await self.life.alive()
        self.streams.activity += 1
        if self.down:
            raise Unavailable("the log does not answer")

    def _now(self) -> datetime:
        return self.streams.clock.now

    def _fact_or_poison(self, stream: str, stored: Stored) -> Recorded | Poison:
        try:
            return self.unpack(stream, stored)
        except ValueError as error:
            return Poison(stream, stored.sequence, stored.subject, str(error))

    def _assert_continues(self, stream: str, start: Checkpoint | None) -> None:
        if start is None:
            return
        messages = self.streams.messages[stream]
        if start.stream != stream or start.epoch != self.streams.epochs[stream]:
            raise LogMismatch(f"not the {stream} of this checkpoint")
        if start.position > len(messages):
            raise LogMismatch(f"{stream} ends at {len(messages)}, the checkpoint is at {start.position}")
        if start.digest and digest_of(messages[start.position - 1]) != start.digest:
            raise LogMismatch(f"{stream} holds another fact at {start.position}")
