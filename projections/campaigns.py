"""Which messages there are in a domain, which of them count as one, and when they may have been sent.

Part of the projection `statistics`, which counts what came of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from uuid import UUID

from domain.message import Message
from domain.recorded import Recorded
from projections.paging import pages
from projections.port import Key, Put, ReadModels, Row, Table, Write

CHUNK = 1_000
FIRST_DAY = datetime(2015, 1, 1, tzinfo=UTC)
"""Nothing of the original is older."""

COPIES = Table(
    projection="statistics",
    name="message_children",
    partition={"realm": "text", "campaign": "uuid"},
    clustering={"message": "uuid"},
    columns={"accepted": "timestamp"},
)
"""Messages to single visitors, which count as the one that they were made from. accepted: or, later, due."""

LATER = Table(
    projection="statistics",
    name="domain_later_messages",
    partition={"realm": "text", "domain": "text", "month": "text"},
    clustering={"campaign": "uuid"},
    columns={"seen": "bigint"},
)
"""Messages that were accepted long before, perhaps: copies were made from them in that month, or they were due then."""

OF_DOMAIN = Table(
    projection="statistics",
    name="domain_messages",
    partition={"realm": "text", "domain": "text", "month": "text"},
    clustering={"accepted": "timestamp", "message": "uuid"},
    columns={"name": "text"},
)
"""domain "": of all domains of the realm. name: the domain."""


def listed(fact: Recorded, event: Message.Accepted) -> Iterable[Write]:
    """What tells of a message of an app."""
    campaign, name, begins = campaign_of(event.parent), event.app.casefold(), event.scheduled_at or fact.at
    if campaign is not None:
        copy: Key = (fact.realm, campaign, event.originator_id)
        yield Put(COPIES, copy, {"accepted": begins}, fact.position)
    else:
        for domain in ("", name):
            key: Key = (fact.realm, domain, _month(fact.at), fact.at, event.originator_id)
            yield Put(OF_DOMAIN, key, {"name": name}, fact.position)
    if campaign is not None or event.scheduled_at is not None:
        later: Key = (fact.realm, name, _month(begins), campaign or event.originator_id)
        yield Put(LATER, later, {"seen": fact.position}, fact.position)


def campaign_of(parent: str | None) -> UUID | None:
    """The message that this one counts as, by its parent's id."""
    try:
        return UUID(parent) if parent else None
    except ValueError:
        return None


def copies_of(models: ReadModels, realm: str, campaign: UUID) -> AsyncIterator[list[Row]]:
    """All copies of a message, in pages."""
    return pages(models, COPIES, (realm, campaign), chunk=CHUNK)


async def messages_of(
    models: ReadModels, realm: str, domain: str, start: datetime, end: datetime
) -> AsyncIterator[Row]:
    """Messages accepted in [start, end), oldest first; domain "": of all domains.

    One question for each month: let it end not long after now.
    """
    first, last = (start, UUID(int=0)), (end, UUID(int=0))
    for month in _months(start, end):
        partition: Key = (realm, domain, month)
        async for rows in pages(models, OF_DOMAIN, partition, after=first, before=last, chunk=CHUNK):
            for row in rows:
                yield row


async def sent_later(
    models: ReadModels, realm: str, domain: str, start: datetime, end: datetime
) -> set[UUID]:
    """The messages that were copied or due in the months of [start, end]."""
    found: set[UUID] = set()
    for month in _months(start, end):
        async for rows in pages(models, LATER, (realm, domain, month), chunk=CHUNK):
            found.update(row["campaign"] for row in rows)
    return found


def _month(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.year:04d}-{at.month:02d}"


def _months(start: datetime, end: datetime) -> Iterable[str]:
    start = max(start, FIRST_DAY)
    number, last = start.year * 12 + start.month - 1, end.year * 12 + end.month - 1
    for month in range(number, last + 1):
        yield f"{month // 12:04d}-{month % 12 + 1:02d}"
