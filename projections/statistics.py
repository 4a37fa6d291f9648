"""How an app's messages fared, hour by hour, and which messages there are in a domain.

One cell for each slice of outcomes and each receipt, summed when it is read: repetition and disorder change nothing.
Only what is final counts, so that a send that succeeds at the third try is one delivery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from operator import itemgetter
from uuid import UUID

from domain.delivery import OutcomeSlice, Receipt
from domain.message import Message
from domain.outcome import Accepted, Expired, Gone, Outcome, Rejected, Suppressed
from domain.recorded import DELIVERY, EVENTS, Recorded
from projections.checks import count
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

CHUNK = 1_000
FIRST_YEAR = 2015
"""Nothing of the original is older."""
LIFE = timedelta(days=29)
"""How long after its acceptance a message can still be sent: time to live and the tries."""
ACTION = "action:"
"""A receipt's detail begins so when a button of the notification was clicked; its name follows."""
REPORTED = "reported:"
"""A receipt's detail begins so when it is a sender's own word of what came of a send."""
COUNTED = ("delivered", "notDelivered", "billableSends", "clicks", "received", "actionClick")

WINDOW = 64
"""Positions that share a row: a hundred thousand clicks in a row are 1,600 rows, and no row is wide."""
HOURS = Table(
    projection="statistics",
    name="message_hours",
    partition={"realm": "text", "message": "uuid"},
    clustering={"hour": "timestamp", "window": "bigint"},
    columns={f"at{number:02d}": "bigint" for number in range(WINDOW)},
)
"""window: the position without its last six bits, which are the cell. A cell: what is counted (_packed), one
number, since most cells of a message are equal, and each is taken apart once.
"""
_BITS = (17, 17, 17, 4, 4, 4)
"""Of each count in a cell, in the order of COUNTED: a slice has at most some thousand sends, a receipt counts one."""
_CELLS = tuple(HOURS.columns)
_cells_of = itemgetter(*_CELLS)

CHILDREN = Table(
    projection="statistics",
    name="message_children",
    partition={"realm": "text", "campaign": "uuid"},
    clustering={"message": "uuid"},
    columns={"accepted": "timestamp"},
)
"""Messages to single visitors, which count as the one that they were made from."""

OF_DOMAIN = Table(
    projection="statistics",
    name="domain_messages",
    partition={"realm": "text", "domain": "text", "month": "text"},
    clustering={"accepted": "timestamp", "message": "uuid"},
    columns={"name": "text"},
)
"""domain "": of all domains of the realm. name: the domain."""


class Statistics:
    """The projection."""

    name, version = "statistics", 2
    streams = (EVENTS, DELIVERY)
    tables = (HOURS, CHILDREN, OF_DOMAIN)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Message.Accepted(app=app) as event if app:
                yield from _of_message(fact, event)
            case OutcomeSlice(late=False) as ended:
                counts: Counter[str] = Counter()
                for result in ended.results:
                    counts.update(counted(result.outcome))
                yield from _hour(fact, ended.message, ended.ended_at, counts)
            case Receipt() as receipt:
                yield from _hour(fact, receipt.message, receipt.at, Counter(_of_receipt(receipt)))
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        empty = await count(generation, HOURS, lambda row: not any(_cells_of(row)))
        return [f"{empty} hours count nothing"] if empty else []


def _of_message(fact: Recorded, event: Message.Accepted) -> Iterable[Write]:
    campaign = campaign_of(event.parent)
    if campaign is not None:
        key: Key = (fact.realm, campaign, event.originator_id)
        yield Put(CHILDREN, key, {"accepted": fact.at}, fact.position)
        return
    name = event.app.casefold()
    for domain in ("", name):
        key = (fact.realm, domain, _month(fact.at), fact.at, event.originator_id)
        yield Put(OF_DOMAIN, key, {"name": name}, fact.position)


def campaign_of(parent: str | None) -> UUID | None:
    """The message that this one counts as, by its parent's id."""
    try:
        return UUID(parent) if parent else None
    except ValueError:
        return None


def _hour(fact: Recorded, message: UUID, at: datetime, counts: Counter[str]) -> Iterable[Write]:
    if counts:
        window, cell = divmod(fact.position, WINDOW)
        key = (fact.realm, message, hour_of(at), window)
        yield Put(HOURS, key, {_CELLS[cell]: _packed(counts)}, fact.position)


def _packed(counts: Counter[str]) -> int:
    """63 bits. Raises ValueError for counts that do not fit."""
    packed = 0
    for name, bits in zip(COUNTED, _BITS, strict=True):
        if counts[name] >> bits:
            raise ValueError(f"{counts[name]} {name} at once are too many to count")
        packed = packed << bits | counts[name]
    return packed


def _unpacked(packed: int) -> Iterable[tuple[str, int]]:
    for name, bits in zip(reversed(COUNTED), reversed(_BITS), strict=True):
        yield name, packed & ((1 << bits) - 1)
        packed >>= bits


def counted(outcome: Outcome) -> tuple[str, ...]:
    """What a final outcome counts as; one that is tried again, as nothing yet."""
    match outcome:
        case Accepted():
            return ("delivered", "billableSends")
        case Gone():
            return ("notDelivered", "billableSends")
        case Rejected() | Suppressed() | Expired():
            return ("notDelivered",)
        case _:
            return ()


def _of_receipt(receipt: Receipt) -> tuple[str, ...]:
    said = receipt.detail.startswith(REPORTED)
    match receipt.kind:
        case "delivered":
            return ("delivered", "billableSends") if said else ("received",)
        case "bounced" if said:
            return ("notDelivered",)
        case "clicked":
            return ("actionClick",) if receipt.detail.startswith(ACTION) else ("clicks",)
        case _:
            return ()


def hour_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _month(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.year:04d}-{at.month:02d}"


def total(hours: dict[datetime, Counter[str]]) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for counts in hours.values():
        summed.update(counts)
    return with_sent(summed)


def with_sent(counts: Counter[str]) -> dict[str, int]:
    return {"sent": counts["delivered"] + counts["notDelivered"], **{name: counts[name] for name in COUNTED}}


async def hours_of(
    models: ReadModels, realm: str, campaign: UUID, start: datetime, end: datetime
) -> dict[datetime, Counter[str]]:
    """What counts for a message, those to single visitors included, in the hours that touch [start, end)."""
    found: dict[datetime, Counter[str]] = {}
    await _add(models, realm, campaign, start, end, found)
    after: Key | None = None
    while True:
        children = await models.range(CHILDREN, (realm, campaign), after=after, limit=CHUNK)
        partitions = [(realm, child["message"]) for child in children]
        rows_of = await models.range_many(HOURS, partitions, limit_each=CHUNK) if children else {}
        for (_, message), rows in rows_of.items():
            if len(rows) < CHUNK:
                _sum(rows, start, end, found)
            else:
                await _add(models, realm, message, start, end, found)
        if len(children) < CHUNK:
            return found
        after = (children[-1]["message"],)


async def _add(
    models: ReadModels,
    realm: str,
    message: UUID,
    start: datetime,
    end: datetime,
    found: dict[datetime, Counter[str]],
) -> None:
    after: Key = (hour_of(start), -1)
    while True:
        rows = await models.range(HOURS, (realm, message), after=after, before=(end, -1), limit=CHUNK)
        _sum(rows, start, end, found)
        if len(rows) < CHUNK:
            return
        after = (rows[-1]["hour"], rows[-1]["window"])


def _sum(rows: list[Row], start: datetime, end: datetime, found: dict[datetime, Counter[str]]) -> None:
    first = hour_of(start)
    for hour, of_hour in groupby(rows, key=itemgetter("hour")):
        if not first <= hour < end:
            continue
        counts = found.setdefault(hour, Counter())
        for packed, times in Counter(chain.from_iterable(map(_cells_of, of_hour))).items():
            for name, number in _unpacked(packed or 0):
                counts[name] += number * times


async def messages_of(
    models: ReadModels, realm: str, domain: str, start: datetime, end: datetime
) -> AsyncIterator[Row]:
    """Messages accepted in [start, end), oldest first; domain "": of all domains."""
    start = max(start, datetime(FIRST_YEAR, 1, 1, tzinfo=UTC))
    for month in _months(start, end):
        after: Key = (start, UUID(int=0))
        while True:
            rows = await models.range(
                OF_DOMAIN, (realm, domain, month), after=after, before=(end, UUID(int=0)), limit=CHUNK
            )
            for row in rows:
                yield row
            if len(rows) < CHUNK:
                break
            after = (rows[-1]["accepted"], rows[-1]["message"])


async def consumed(models: ReadModels, realm: str, domain: str, start: datetime, end: datetime) -> int:
    """Billable sends of a domain in the hours that touch [start, end)."""
    sends = 0
    async for row in messages_of(models, realm, domain, start - LIFE, end):
        sends += total(await hours_of(models, realm, row["message"], start, end))["billableSends"]
    return sends


def _months(start: datetime, end: datetime) -> Iterable[str]:
    number, last = start.year * 12 + start.month - 1, end.year * 12 + end.month - 1
    for month in range(number, last + 1):
        yield f"{month // 12:04d}-{month % 12 + 1:02d}"
