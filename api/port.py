"""What the API needs of the world beyond the bus and the read models. Implementations live in infra/."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from api.access.keys import KeySet
from domain.deliveries.delivery import Receipt
from domain.recorded import Recorded

FeedCallback = Callable[[int, int, str, bytes], None]
"""(position, previous position on the same subject, subject, frame)."""

Unsubscribe = Callable[[], Awaitable[None]]

FeedEntry = tuple[int, str, bytes]
"""(position, subject, frame)."""


class FeedReader(Protocol):
    """FEED: what open sockets show. Subjects are `feed.thread.<hex>` and `feed.contact.<hex>` throughout.

    Reads see every frame up to any `head` that was answered before. Errors: domain.errors.Unavailable when the log
    does not answer in time.
    """

    async def epoch(self) -> str:
        """The log's epoch. A position of another epoch means nothing."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """The first position that is still kept, and the last one, asked of the stream's leader.

        Every frame acknowledged before is at or below the last. An empty stream answers (last + 1, last).
        """
        ...

    async def kept_per_subject(self) -> int:
        """How many frames of one subject are kept at least; older ones may make room. 0: there is no bound."""
        ...

    async def since(self, subjects: Sequence[str], after: int, limit: int) -> list[FeedEntry]:
        """The first `limit` frames on the subjects with a position over `after`, oldest first."""
        ...

    async def last(self, subjects: Sequence[str]) -> dict[str, int]:
        """The last position on each subject; subjects without a frame are left out."""
        ...

    async def first_after(self, subject: str, event: int) -> int:
        """Where the first frame on a subject stands that shows what is after a position of EVENTS; 0: nowhere."""
        ...

    async def subscribe(self, subject: str, callback: FeedCallback) -> Unsubscribe:
        """Call back for each new frame, at most once each, in order of position over all subjects of this reader.

        Once this returns, later frames come. One may be lost (the connection broke): the next one's previous
        position shows it, and `since` has it. The callback does not block.
        """
        ...


class EventReader(Protocol):
    """EVENTS by position, for those who run the exchange. Errors: domain.errors.Unavailable."""

    async def epoch(self) -> str: ...

    async def end(self) -> int:
        """The last position, asked of the stream's leader."""
        ...

    async def after(self, position: int, limit: int) -> list[Recorded]:
        """Up to `limit` facts after a position, oldest first; fewer (or none) at the end of the log."""
        ...


class RightsWatch(Protocol):
    """Facts about threads, subscriptions and contacts as they are appended, so that open sockets obey them."""

    def follow(self) -> AsyncIterator[Sequence[Recorded]]:
        """Every such fact from now on, in order, none lost over disconnects; at most a second late.

        Ends never. An empty batch is given at once when the watch has begun: what is appended after it will come.
        """
        ...


class ReceiptSink(Protocol):
    async def take(self, receipt: Receipt) -> None:
        """Record what came back for a message. The same receipt twice is one. Errors: Unavailable."""
        ...

    async def end(self) -> int:
        """The last position of DELIVERY, asked of the stream's leader. Errors: Unavailable."""
        ...


class KeySource(Protocol):
    def current(self) -> KeySet:
        """The keys that tokens are verified with, now; the same object as long as nothing has changed.

        Quick and without waiting: called for every token. At most a second behind the source.
        """
        ...


class RateCounter(Protocol):
    def add(self, key: str, window: int) -> int:
        """Count one more call of `key` in a window of time (its number); how many there are with this one.

        Counts of other processes may come in up to a second late. Quick and without waiting.
        """
        ...


class Health(msgspec.Struct, frozen=True):
    """detail: a sentence for people. values: figures behind it, such as a lag."""

    name: str
    ok: bool
    detail: str = ""
    values: dict[str, float] = {}


class Probe(Protocol):
    name: str

    async def __call__(self) -> Health:
        """Look at one part that the exchange depends on. Never raises; may take long: the caller limits it."""
        ...
