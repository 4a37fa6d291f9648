"""The records of a message's way to its audience: what the DELIVERY stream holds.

    audience.<message>.<page>                          who was decided on, and why
    dispatch.<channel>.<lane>.<message>.<page>.<try>   a page of at most 500 addresses to send to
    attempt.<channel>.<dispatch>                       a slice of it is about to be sent
    outcome.<channel>.<dispatch>                       what each send of the slice came to
    receipt.<channel>.<message>                        what came back later

Ids on subjects are 32 hex digits; <dispatch> is `<message>-<page>-<try>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from domain.deliveries.outcome import FOUND, Accepted, Outcome, Unknown
from domain.message import Content

PAGE_SIZE = 500
"""Addresses in one dispatch: the gateways' unit of work. Bounded so that a page fits in one NATS message."""

Lane = Literal["live", "bulk"]
"""Pages of small audiences overtake those of large ones."""


class AudienceEntry(msgspec.Struct, frozen=True, array_like=True):
    """One contact's decision: the channels it is sent on, or why none. left_out: devices beyond those sent to."""

    contact: UUID
    channels: tuple[str, ...]
    suppressed: str = ""
    left_out: int = 0


class AudiencePage(msgspec.Struct, frozen=True):
    """cursor: where the next page starts, None on the last. as_of: position that decided membership.

    sends: addresses in this page's dispatches.
    """

    realm: str
    message: UUID
    page: int
    as_of: int
    entries: tuple[AudienceEntry, ...]
    sends: int
    cursor: str | None


class Recipient(msgspec.Struct, frozen=True, array_like=True):
    """Whom an address belongs to. client None: the contact's own (phone, mail).

    token: the digest of a push address, to tell later whether the client still has the same one.
    """

    contact: UUID | None
    client: UUID | None
    token: UUID | None = None


class Sealed(msgspec.Struct, frozen=True):
    """What a dispatch hides under the key of the day: the content and its recipients' addresses.

    An empty address: the recipient's token belongs to another client by now.
    """

    content: Content
    addresses: tuple[str, ...]


class Dispatch(msgspec.Struct, frozen=True):
    """One message on one channel to a page of recipients; the sealed addresses are in the same order.

    page: the audience page's number; `x<n>` follows when a channel needs more than one dispatch for it, `f<first>` when
    another slice or group of a dispatch is tried again (`r<round>f<first>` when that dispatch was no first one).
    attempt: 1 for the first try. accepted_at: when the message was accepted, or fell due. app: of the app that sends,
    "" when none does. perhaps_sent: for each recipient since when an earlier try may have been sent, None: it was not;
    () for none of them; None in dispatches from before this was told.
    """

    realm: str
    message: UUID
    channel: str
    lane: Lane
    page: str
    attempt: int
    tid: str | None
    sender: str
    urgency: int
    accepted_at: datetime
    expires_at: datetime
    recipients: tuple[Recipient, ...]
    key: str
    sealed: bytes
    correlation: str = ""
    halts: int = 0
    app: str = ""
    perhaps_sent: tuple[datetime | None, ...] | None = None

    def perhaps_sent_to(self, index: int) -> datetime | None:
        """Since when an earlier try may have been sent to a recipient; None when there was none, or it was refused."""
        if self.perhaps_sent is None:
            return None if self.attempt == 1 else self.accepted_at
        return self.perhaps_sent[index] if self.perhaps_sent else None

    @property
    def is_first(self) -> bool:
        """Whether it comes from the dispatcher itself, not from a try that did not end."""
        return self.attempt == 1 and self.halts == 0

    @property
    def round(self) -> str:
        """The try, and how often it was put off because the channel was halted: "2", "2h1"."""
        return f"{self.attempt}h{self.halts}" if self.halts else str(self.attempt)

    @property
    def id(self) -> str:
        return f"{self.message.hex}-{self.page}-{self.round}"

    @property
    def subject(self) -> str:
        return f"dispatch.{self.channel}.{self.lane}.{self.message.hex}.{self.page}.{self.round}"


class Attempt(msgspec.Struct, frozen=True):
    """Recipients first..last (exclusive) are about to be sent to. repeats: an attempt without outcome."""

    realm: str
    message: UUID
    channel: str
    dispatch: str
    first: int
    last: int
    gateway: str
    started_at: datetime
    repeats: int | None = None


def with_repeated(attempts: Mapping[int, Attempt], position: int) -> list[Attempt]:
    """The attempt at a position, the one that it repeats, and so on to the first; as far as they are known."""
    found: list[Attempt] = []
    next = attempts.get(position)
    while next is not None:
        found.append(next)
        next = attempts.get(next.repeats) if next.repeats is not None else None
    return found


class Result(msgspec.Struct, frozen=True, array_like=True):
    contact: UUID | None
    client: UUID | None
    outcome: Outcome


class OutcomeSlice(msgspec.Struct, frozen=True):
    """What the slice's sends came to, in order. attempt: the position of its Attempt record.

    source: the subject of the dispatch. repeated: an attempt before it had no outcome. late: another gateway's outcome
    of the slice was there first, and counts; this one is kept for the record. No results: `attempt` has no outcome so
    far, and is about to be repeated. started_at: when the attempt began. perhaps_sent: the places in `results` to which
    an earlier try, or another gateway's, may have been sent; a place that is there twice: two of them. Both are None in
    outcomes from before they were told.
    """

    realm: str
    message: UUID
    channel: str
    dispatch: str
    source: str
    attempt: int
    first: int
    results: tuple[Result, ...]
    ended_at: datetime
    repeated: bool = False
    late: bool = False
    started_at: datetime | None = None
    perhaps_sent: tuple[int, ...] | None = None

    def perhaps_twice(self) -> frozenset[int]:
        """The places in `results` that may have been sent twice: an earlier try and this one, or two earlier ones."""
        if self.perhaps_sent is None:
            return frozenset(range(len(self.results))) if self.repeated or self.late else frozenset()
        again = frozenset(place for place in self.perhaps_sent if _perhaps_sent(self.results[place].outcome))
        return again.union(self.perhaps_sent_twice())

    def perhaps_sent_twice(self) -> tuple[int, ...]:
        """The places in `results` to which two earlier tries may have been sent."""
        return tuple(place for place, tries in Counter(self.perhaps_sent or ()).items() if tries > 1)

    def perhaps_sent_beside(self, others: Iterable[object]) -> tuple[int, ...]:
        """As `perhaps_sent`, once it shows that others, by their outcomes, have been at work on the slice, too.

        Whoever repeated this try, or one that came after it, has left an outcome without results.
        """
        repeated = {each.attempt for each in others if isinstance(each, OutcomeSlice) and not each.results}
        later = sum(attempt >= self.attempt for attempt in repeated)
        earlier, places = Counter(self.perhaps_sent), range(len(self.results))
        return (*places, *(place for place in places if earlier[place] + later > 1))


def _perhaps_sent(outcome: Outcome) -> bool:
    """Whether the try that came to it may have reached the recipient: what was refused did not."""
    match outcome:
        case Accepted():
            return outcome.detail != FOUND
        case _:
            return isinstance(outcome, Unknown)


def message_of_outcome(subject: str) -> UUID:
    """Of which message an outcome is, by its subject. Raises ValueError for one that is none."""
    kind, _, dispatch = subject.split(".", 2)
    if kind != "outcome":
        raise ValueError(f"{subject!r} is no outcome's subject")
    return UUID(hex=dispatch.partition("-")[0])


ReceiptKind = Literal["delivered", "read", "clicked", "bounced", "unsubscribed"]


class Receipt(msgspec.Struct, frozen=True):
    realm: str
    message: UUID
    channel: str
    contact: UUID | None
    client: UUID | None
    kind: ReceiptKind
    at: datetime
    detail: str = ""
