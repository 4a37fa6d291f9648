"""The log behind processes.port.Log: JetStream with our records, positions and errors."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from commands.port import EventStore, KeyStore
from domain.recorded import DELIVERY, SCHEDULES, TRIAGE, Checkpoint, Recorded
from infra.eventstore.store import JetStreamEventStore
from infra.eventstore.wire import (
    HEADER_VALUE_CHARS_MAX,
    digest_of,
    header_text,
    pack_bytes,
    pack_delivery,
)
from infra.keys.store import JetStreamKeyStore
from infra.log.checks import assert_continues
from infra.log.facts import FactReader
from infra.log.feed import FeedReader
from infra.log.feeding import FeedWriter
from infra.log.ordered import OrderedReader
from infra.log.work import Work
from infra.nats.appending.appends import Appender, Entry
from infra.nats.appending.committer import Committer
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from infra.nats.wire.frames import Stored, header_lines
from processes.ahead import ahead
from processes.port import Append, FeedLog, Log, LogMismatch, Poison, Task

DUE_KEPT = "168h"
"""How long a due schedule waits for its worker. After a longer standstill the upcoming messages are looked through."""

MANY = 50
"""Facts read at once behind which more are waiting: 2 ms of reading, which are worth a task of their own. What comes
live comes one by one, and the longer a reader is busy the more there is for it when it asks.
"""

TRIAGED_MAX = 10_000
"""Facts put aside by one source; more is an outage, not a list to work on."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Background:
    """Tasks that run as long as the log is open, in its task group; all end when it closes."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Returns what ends it before."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task.cancel

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


class Parts(NamedTuple):
    """What a log is made of; `opened.open_log` puts it together."""

    js: JetStream
    guard: Guard
    committers: Mapping[str, Committer]
    appenders: Mapping[str, Appender]
    facts: FactReader
    background: Background
    clock: Clock


class JetStreamLog:
    """processes.port.Log, and the ways to the event store, the keys and the feed."""

    def __init__(
        self,
        parts: Parts,
        events: JetStreamEventStore,
        keys: JetStreamKeyStore,
        feed_reader: FeedReader,
        feed: FeedWriter,
    ) -> None:
        self.events, self.keys, self.feed_reader, self.feed = events, keys, feed_reader, feed
        self.js = parts.js
        self._guard, self._facts = parts.guard, parts.facts
        self._committers, self._appenders = parts.committers, parts.appenders
        self._background, self._clock = parts.background, parts.clock

    async def epoch(self, stream: str) -> str:
        return self._guard.epoch(stream)

    async def assert_continues(self, at: Checkpoint) -> None:
        """Raises LogMismatch where this is not the log that the checkpoint is of, or has lost its tail."""
        await assert_continues(self.js, self._guard, at)

    async def place(self, stream: str, position: int) -> Checkpoint:
        """As far as this position, by what is there; without a digest if that is gone."""
        found = await self.js.leader_get(stream, seq=position) if position else None
        return Checkpoint(stream, position, self._guard.epoch(stream), digest_of(found) if found else "")

    async def follow(
        self, stream: str, start: Checkpoint | None, *, subjects: Sequence[str] = (), batch: int = 500
    ) -> AsyncGenerator[Sequence[Recorded | Poison]]:
        place = start or Checkpoint(stream, 0, self._guard.epoch(stream))
        if place.stream != stream:
            raise LogMismatch(f"a checkpoint of {place.stream} does not say where to begin in {stream}")

        async def check() -> None:
            await assert_continues(self.js, self._guard, place)

        reader = OrderedReader(
            self.js, stream, subjects=subjects, position=place.position, batch=batch, check=check
        )

        async def read() -> AsyncGenerator[Sequence[Recorded | Poison]]:
            nonlocal place
            async with contextlib.aclosing(reader.batches()) as batches:
                async for messages in batches:
                    facts = await self._facts.read_patiently(stream, messages)
                    place = Checkpoint(
                        stream, messages[-1].sequence, place.epoch, _digest(facts[-1], messages[-1])
                    )
                    yield facts

        async with contextlib.aclosing(ahead(read(), _is_of_many)) as facts_ahead:
            async for facts in facts_ahead:
                yield facts

    async def work(
        self,
        stream: str,
        durable: str,
        *,
        subjects: Sequence[str],
        ack_wait_s: float = 30.0,
        in_flight: int = 8,
        topics: Collection[str] = (),
    ) -> AsyncGenerator[Task]:
        work = Work(
            self.js,
            self._guard,
            self._facts,
            stream=stream,
            durable=durable,
            subjects=subjects,
            ack_wait_s=ack_wait_s,
            in_flight=in_flight,
            topics=topics,
        )
        end_keeping = self._background.start(work.keep_alive())
        try:
            async for task in work.tasks():
                yield task
        finally:
            end_keeping()

    async def append(self, *records: Append) -> list[int]:
        at = self._clock()
        entries: list[Entry] = []
        subjects: set[str] = set()
        for each in records:
            packed = pack_delivery(each.subject, each.record, at=at, correlation=each.correlation)
            expect = None if each.subject in subjects else each.expect
            subjects.add(each.subject)
            entries.append(Entry(packed.subject, packed.lines, packed.body, expect))
        if not entries:
            return []
        last = await self._committers[DELIVERY].append(entries)
        return list(range(last - len(entries) + 1, last + 1))

    async def last(self, stream: str, subject: str) -> Recorded | None:
        found = await self.js.leader_get(stream, last_by_subj=subject)
        return None if found is None else await self._facts.one(stream, found)

    async def read(self, stream: str, subject: str, *, after: int = 0, limit: int = 1000) -> list[Recorded]:
        found = await self.js.read(stream, subject, seq=after + 1, limit=limit)
        facts = await self._facts.read(stream, found)
        return [fact for fact in facts if isinstance(fact, Recorded)]

    async def end(self, stream: str) -> int:
        info = await self.js.info(stream)
        return 0 if info is None else info.state.last_seq

    async def passed(self, stream: str, subject: str, position: int, applied: int) -> bool:
        if applied >= position:
            return True
        following = await self.js.leader_get(stream, seq=applied + 1, next_by_subj=subject)
        return following is None or following.sequence > position

    async def schedule(self, id: str, due: datetime, *, target: str, body: bytes) -> None:
        packed = pack_bytes(f"schedule.{id}", "schedule.v1", body, at=self._clock())
        lines = header_lines(
            {
                "Nats-Schedule": f"@at {_instant(due)}",
                "Nats-Schedule-Target": target,
                "Nats-Schedule-TTL": DUE_KEPT,
            }
        )
        # Not deduplicated: the id would travel to the due message, which the server would then drop.
        entry = Entry(packed.subject, packed.lines + lines, packed.body, deduplicate=False)
        await self._appenders[SCHEDULES].append([entry])

    async def unschedule(self, id: str) -> None:
        # An empty message without a schedule takes the place of the one that has it.
        lines = header_lines({"Nats-TTL": DUE_KEPT})
        await self._appenders[SCHEDULES].append([Entry(f"schedule.{id}", lines, b"", deduplicate=False)])

    async def triage(self, source: str, subject: str, *, reason: str, body: bytes, position: int) -> None:
        id = f"{sha256(subject.encode()).hexdigest()[:16]}-{position}"
        packed = pack_bytes(
            f"triage.{_token(source)}.{id}",
            "triage.v1",
            body,
            at=self._clock(),
            Subject=subject,
            Position=str(position),
            Reason=reason[:HEADER_VALUE_CHARS_MAX],
        )
        await self._appenders[TRIAGE].append([Entry(packed.subject, packed.lines, packed.body)])

    async def triaged(self, source: str, *, since: datetime | None = None) -> dict[str, list[int]]:
        positions: dict[str, list[int]] = {}
        for stored in await self.js.read(TRIAGE, f"triage.{_token(source)}.*", limit=TRIAGED_MAX):
            if since is not None and datetime.fromisoformat(stored.headers["Time"]) < since:
                continue
            subject = header_text(stored.headers, "Subject")
            insort(positions.setdefault(subject, []), int(stored.headers["Position"]))
        return positions


def _is_of_many(facts: Sequence[Recorded | Poison]) -> bool:
    return len(facts) >= MANY


def _digest(fact: Recorded | Poison, stored: Stored) -> str:
    return fact.digest if isinstance(fact, Recorded) else digest_of(stored)


def _instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond, as the server's schedules take it; rounded up, so that nothing is early."""
    return (at + timedelta(microseconds=999)).astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _token(name: str) -> str:
    """One token of a subject."""
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in name)


def _conforms(log: JetStreamLog) -> tuple[Log, EventStore, KeyStore, FeedLog]:
    """Never called: mypy checks here that the ports are met."""
    return log, log.events, log.keys, log.feed
