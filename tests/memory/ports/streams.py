"""The server: streams, durable consumers and schedules, shared by all connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from commands.port import VersionConflict
from domain.recorded import DELIVERY, EVENTS, FEED, SCHEDULES, SHOPS, SIGNALS, STATES, TRIAGE, Checkpoint
from infra.eventstore.wire import pack_bytes
from infra.nats.wire.frames import Stored, parse_headers
from tests.memory.clock import ManualClock
from tests.memory.lifeline import Lifeline

STREAMS = (EVENTS, DELIVERY, FEED, SCHEDULES, SIGNALS, SHOPS, STATES, TRIAGE)


class Entry(NamedTuple):
    """One message to append. expect: the last position on its subject, 0 for none, None for any."""

    subject: str
    lines: bytes
    body: bytes
    expect: int | None = None


class Aside(NamedTuple):
    """A fact in TRIAGE."""

    source: str
    subject: str
    reason: str
    body: bytes
    position: int
    at: datetime


class Planned(NamedTuple):
    """A schedule that has not fired."""

    due: datetime
    target: str
    body: bytes


@dataclass(slots=True)
class Pending:
    """A message that was handed out and not acknowledged. is_kept: whether its worker lives, and says so in time."""

    again_at: datetime
    deliveries: int
    is_kept: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Durable:
    """A consumer that any number of workers share."""

    stream: str
    subjects: Sequence[str]
    ack_wait_s: float
    position: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)


class Streams:
    """activity: grows with everything that happens, so that a test can tell when nothing happens any more.

    noted: what a feeder has noted. leases: who holds each, by name.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.epochs = dict.fromkeys(STREAMS, "epoch-1")
        self.messages: dict[str, list[Stored]] = {name: [] for name in self.epochs}
        self._by_subject: dict[tuple[str, str], list[int]] = {}
        self.durables: dict[str, Durable] = {}
        self.schedules: dict[str, Planned] = {}
        self.aside: dict[tuple[str, str, int], Aside] = {}
        self.noted: Checkpoint | None = None
        self.leases: dict[str, Lifeline] = {}
        self.activity = 0
        self._changed: asyncio.Future[None] | None = None
        clock.on_move(self._tick)

    def append(self, stream: str, entries: Sequence[Entry]) -> list[int]:
        """All or nothing. Raises VersionConflict; nothing is stored then."""
        touched: set[str] = set()
        for entry in entries:
            last = self.last_position(stream, entry.subject)
            if entry.expect is not None and entry.subject not in touched and last != entry.expect:
                raise VersionConflict(f"{entry.subject} ends at {last}, not at {entry.expect}")
            touched.add(entry.subject)
        log = self.messages[stream]
        positions = []
        for entry in entries:
            headers = parse_headers(b"NATS/1.0\r\n" + entry.lines + b"\r\n")
            log.append(Stored(entry.subject, len(log) + 1, headers, bytes(entry.body)))
            self._by_subject.setdefault((stream, entry.subject), []).append(len(log))
            positions.append(len(log))
        self.wake()
        return positions

    def forget(self, stream: str) -> None:
        """All that is on a stream has reached its age."""
        self.messages[stream].clear()
        for key in [key for key in self._by_subject if key[0] == stream]:
            del self._by_subject[key]

    def last_position(self, stream: str, subject: str) -> int:
        """0: nothing was ever stored on the subject."""
        return (self._by_subject.get((stream, subject)) or [0])[-1]

    def on_subject(self, stream: str, subject: str) -> list[Stored]:
        """The messages on a subject, wildcards allowed, oldest first."""
        if "*" not in subject and ">" not in subject:
            return [self.messages[stream][at - 1] for at in self._by_subject.get((stream, subject), [])]
        return [message for message in self.messages[stream] if matches(subject, message.subject)]

    def take(self, durable: Durable) -> tuple[Stored, int] | None:
        """The next message for a worker, and how often it was handed out by now."""
        for position, pending in durable.pending.items():
            if pending.again_at <= self.clock.now and pending.is_kept():
                pending.again_at = self.clock.now + timedelta(seconds=durable.ack_wait_s)
            if pending.again_at <= self.clock.now:
                return self._hand_out(durable, position, pending.deliveries + 1)
        log = self.messages[durable.stream]
        while durable.position < len(log):
            durable.position += 1
            message = log[durable.position - 1]
            if any(matches(subject, message.subject) for subject in durable.subjects):
                return self._hand_out(durable, durable.position, 1)
        return None

    def _hand_out(self, durable: Durable, position: int, deliveries: int) -> tuple[Stored, int]:
        again_at = self.clock.now + timedelta(seconds=durable.ack_wait_s)
        durable.pending[position] = Pending(again_at, deliveries)
        self.activity += 1
        return self.messages[durable.stream][position - 1], deliveries

    def acknowledge(self, durable: Durable, position: int) -> None:
        """As the server has it: whoever acknowledges, the message is done."""
        durable.pending.pop(position, None)
        self.wake()

    def postpone(self, durable: Durable, position: int, delay_s: float) -> None:
        """Hand it out again after `delay_s`: a worker gave it back, or said that it is still at work."""
        if position in durable.pending:
            durable.pending[position].again_at = self.clock.now + timedelta(seconds=delay_s)
            self.wake()

    def schedule(self, id: str, planned: Planned) -> None:
        self.schedules[id] = planned
        self._tick()

    def next_due(self) -> datetime | None:
        """The next time at which something happens by itself."""
        times = [planned.due for planned in self.schedules.values()]
        times += [each.again_at for durable in self.durables.values() for each in durable.pending.values()]
        return min(times, default=None)

    def wake(self) -> None:
        self.activity += 1
        waiting, self._changed = self._changed, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def changed(self) -> None:
        """Returns when anything has happened since the call."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _tick(self) -> None:
        due = [(id, planned) for id, planned in self.schedules.items() if planned.due <= self.clock.now]
        for id, planned in sorted(due, key=lambda item: item[1].due):
            del self.schedules[id]
            packed = pack_bytes(planned.target, "schedule.v1", planned.body, at=self.clock.now)
            self.append(SCHEDULES, [Entry(packed.subject, packed.lines, packed.body)])
        self.wake()


def matches(pattern: str, subject: str) -> bool:
    """NATS' rules: `*` is one token, `>` is one or more at the end."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)
