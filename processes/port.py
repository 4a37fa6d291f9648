"""What the processes need of the log besides the event store: ordered reads, shared work, appends, the feed, leases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from domain.devices.client_state import StateChange
from domain.recorded import Checkpoint, DeliveryRecord, Recorded


class LogMismatch(Exception):
    """The log is not the one this checkpoint belongs to, or has lost its tail: stop, write nothing."""


class Task(Protocol):
    """One fact to work on, shared among the processes of a role. Unacknowledged, it comes back after
    `ack_wait`.
    """

    stream: str
    subject: str
    position: int
    raw: bytes
    """The message's body as it is on the stream."""

    @property
    def fact(self) -> Recorded:
        """The decoded fact. Raises ValueError for one that can't be read, and for SCHEDULES, whose messages are
        bodies of our own: see `raw`.
        """
        ...

    deliveries: int
    """How often it has been handed out, this time included."""

    async def ack(self) -> None: ...
    async def extend(self) -> None:
        """Say that work goes on: the time until it is handed out again starts anew."""
        ...

    async def give_back(self, *, delay_s: float = 0.0) -> None: ...


class Poison(msgspec.Struct, frozen=True):
    """A message of a stream that cannot be decoded, with the reason; position and subject are known."""

    stream: str
    position: int
    subject: str
    reason: str


class Told(NamedTuple):
    """The last change on a subject of STATES: its position on EVENTS, and its place on STATES. 0, 0: there is none."""

    position: int
    place: int


class StateLog(Protocol):
    """STATES: what other systems are told of clients. Errors: Unavailable, OutcomeUnknown."""

    async def last(self, subject: str) -> Told:
        """Asked of the stream's leader."""
        ...

    async def append(self, subject: str, change: StateChange, *, expect: int) -> int:
        """The change's place. Raises VersionConflict when `expect` is not the last place on the subject."""
        ...


class Lease(Protocol):
    """At most one process holds it at a time."""

    @property
    def is_held(self) -> bool:
        """Whether nobody else can hold it now; it may turn False at any time."""
        ...

    async def take(self) -> bool:
        """Wait until it is ours; False once the process is to stop."""
        ...

    async def keep(self) -> None:
        """Renew it; returns once it is lost."""
        ...

    async def give_back(self) -> None: ...


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What sockets that follow a subject show of one message.

    position: of the event on EVENTS that it shows; index: of this frame among that event's. An older version wrote
    neither: 0 and -1.
    """

    subject: str
    body: bytes
    message: str
    position: int = 0
    index: int = -1
    correlation: str = ""


class Tail(NamedTuple):
    """How FEED ends. end: its last position, whether or not the frame there is kept. last: the last one that is.

    kept: how long a frame is; None: for ever.
    """

    end: int
    last: Frame | None
    kept: timedelta | None


class FeedLog(Protocol):
    """FEED, and a note of what is shown on it. Errors: Unavailable, OutcomeUnknown, LogMismatch."""

    async def tail(self) -> Tail:
        """Asked of the stream's leader."""
        ...

    async def append(self, frames: Sequence[Frame], *, after: int) -> int:
        """Show them, in order, nothing in between; FEED's last position then. Sockets get them at once.

        Raises VersionConflict when FEED does not end at `after`. Whatever it raises, none of them is there, or the
        first few are.
        """
        ...

    def assert_fits(self, body: bytes) -> None:
        """Raises TooLarge for a frame's body that no append takes."""
        ...

    async def noted(self) -> Checkpoint | None:
        """The last note."""
        ...

    async def note(self, shown: Checkpoint) -> None:
        """Note that all is shown up to a position of EVENTS. Raises VersionConflict when another process has noted
        something since our last look.
        """
        ...


class Append(msgspec.Struct, frozen=True):
    """One record for DELIVERY. expect: the last sequence on its subject (0: it is new; None: any)."""

    subject: str
    record: DeliveryRecord
    expect: int | None = None
    correlation: str = ""


class Log(Protocol):
    """JetStream as the processes see it. It reconnects by itself for ever; calls wait at most their time-out.

    Errors: VersionConflict (expected sequence not met; nothing stored), Unavailable, OutcomeUnknown.
    """

    async def epoch(self, stream: str) -> str: ...

    def follow(
        self, stream: str, start: Checkpoint | None, *, subjects: Sequence[str] = (), batch: int = 500
    ) -> AsyncIterator[Sequence[Recorded | Poison]]:
        """Every fact after `start`, in order, for ever; batches of what is there. Survives disconnects.

        Of each batch the last fact has its digest, for a checkpoint after the batch; those before it have none.

        Raises LogMismatch when the log's epoch or the digest at the checkpoint differs, or the log ends
        before it.
        """
        ...

    def work(
        self,
        stream: str,
        durable: str,
        *,
        subjects: Sequence[str],
        ack_wait_s: float = 30.0,
        in_flight: int = 8,
        topics: Collection[str] = (),
    ) -> AsyncIterator[Task]:
        """Facts handed out among all processes that name the same durable, each until acknowledged.

        topics: only these are handed out, in whatever version they were written; the others are passed over (none:
        all).
        """
        ...

    async def append(self, *records: Append) -> list[int]:
        """All or nothing; the positions, in order."""
        ...

    async def last(self, stream: str, subject: str) -> Recorded | None:
        """The newest fact on a subject (wildcards allowed), asked of the stream's leader."""
        ...

    async def read(self, stream: str, subject: str, *, after: int = 0, limit: int = 1000) -> list[Recorded]:
        """The facts on a subject (wildcards allowed) after a position, oldest first."""
        ...

    async def end(self, stream: str) -> int:
        """The stream's last position, asked of its leader."""
        ...

    async def passed(self, stream: str, subject: str, position: int, applied: int) -> bool:
        """Whether a reader that applied `applied` has nothing left up to `position` on `subject`."""
        ...

    async def schedule(self, id: str, due: datetime, *, target: str, body: bytes) -> None:
        """Publish `body` on `target` (`due.<kind>.<id>`) at `due`. Writing it again replaces it."""
        ...

    async def unschedule(self, id: str) -> None:
        """Take a schedule back; one that has fired, or never was, is no error."""
        ...

    async def triage(self, source: str, subject: str, *, reason: str, body: bytes, position: int) -> None:
        """Put a fact aside, with the reason. source: who could not deal with it; subject: the fact's own."""
        ...

    async def triaged(self, source: str, *, since: datetime | None = None) -> dict[str, list[int]]:
        """Subjects of the facts that `source` has put aside (since a time), each with their positions in order."""
        ...
