"""How an app's messages fared, hour by hour; which messages those are, campaigns.py knows.

One cell for each slice of outcomes and each receipt, summed when it is read: repetition and disorder change nothing.
What a finished block of the log has of them is summed once more, so that reading millions does not take long.
Only what is final counts, so that a send that succeeds at the third try is one delivery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import MINYEAR, UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from uuid import UUID

from domain.deliveries.delivery import OutcomeSlice, Receipt
from domain.deliveries.outcome import Accepted, Expired, Gone, Outcome, Rejected, Suppressed
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS, Recorded
from projections.campaigns import (
    COPIES,
    FIRST_DAY,
    LATER,
    OF_DOMAIN,
    copies_of,
    listed,
    messages_of,
    sent_later,
)
from projections.paging import pages
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

CHUNK = 1_000
UNSUMMED_MAX = 10_000
"""Each is a start of the projector; a rebuild leaves none."""
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
AHEAD = timedelta(days=1)
"""How far the clocks of those who write to the log may be apart."""
LIFE = timedelta(days=29)
"""How long after its acceptance a message can still be sent: time to live and the tries."""
ACTION = "action:"
"""A receipt's detail begins so when a button of the notification was clicked; its name follows."""
REPORTED = "reported:"
"""A receipt's detail begins so when it is a sender's own word of what came of a send."""
COUNTED = ("delivered", "notDelivered", "billableSends", "clicks", "received", "actionClick")

WINDOW = 64
"""Positions that share a row: a hundred thousand clicks in a row are 1,600 rows, and no row is wide."""
WINDOWS = 128
"""Rows of neighbours that a block has at most: a reader adds them up in some milliseconds until their sum is there."""
BLOCK = WINDOW * WINDOWS
"""Positions: a million receipts in a row are 123 rows. A projector that starts anew reads as many facts once more."""

HOURS = Table(
    projection="statistics",
    name="message_hours",
    partition={"realm": "text", "message": "uuid"},
    clustering={"window": "bigint", "hour": "timestamp"},
    columns={f"at{number:02d}": "bigint" for number in range(WINDOW)},
)
"""window: the position without its last six bits, which are the cell. A cell: what is counted (_packed), one
number, since most cells of a message are equal, and each is taken apart once.
"""
_BITS = (17, 17, 17, 4, 4, 4)
"""Of each count in a cell, in the order of COUNTED: a slice has at most some thousand sends, a receipt counts one."""
_CELLS = tuple(HOURS.columns)
_cells_of = itemgetter(*_CELLS)

_COLUMN_OF = dict(
    zip(
        COUNTED,
        ("delivered", "not_delivered", "billable_sends", "clicks", "received", "action_click"),
        strict=True,
    )
)
BLOCKS = Table(
    projection="statistics",
    name="message_blocks",
    partition={"realm": "text", "message": "uuid"},
    clustering={"block": "bigint", "hour": "timestamp"},
    columns=dict.fromkeys(_COLUMN_OF.values(), "bigint"),
)
"""What HOURS has of a message in a finished block: all of it."""

UNSUMMED = Table(
    projection="statistics",
    name="unsummed_blocks",
    partition={"realm": "text", "stream": "text"},
    clustering={"block": "bigint"},
    columns={"passed": "bigint"},
)
"""Finished blocks that BLOCKS has nothing of. realm: "", since a block is of the whole stream. Seldom any: where the
projector started anew in the middle of one whose beginning the log no longer keeps."""


class Statistics:
    """The projection."""

    name, version = "statistics", 4
    streams = (EVENTS, DELIVERY)
    subjects = {EVENTS: ("evt.message.>",), DELIVERY: ("outcome.>", "receipt.>")}
    tables = (HOURS, BLOCKS, UNSUMMED, COPIES, LATER, OF_DOMAIN)
    block, blocks_of, summed = BLOCK, DELIVERY, HOURS

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Message.Accepted(app=app) as event if app:
                yield from listed(fact, event)
            case OutcomeSlice(late=False) as ended:
                counts: Counter[str] = Counter()
                # Hot path: a slice has hundreds of results, and a kind of outcome or two.
                alike = Counter([counted(result.outcome) for result in ended.results])
                for names, number in alike.items():
                    counts.update(dict.fromkeys(names, number))
                yield from _hour(fact, ended.message, ended.ended_at, counts)
            case Receipt() as receipt:
                yield from _hour(fact, receipt.message, receipt.at, Counter(_of_receipt(receipt)))
            case _:
                return

    def sums(self, block: int, puts: Sequence[Put]) -> Iterable[Write]:
        """projections.port.Summing."""
        found: dict[Key, Counter[str]] = {}
        for put in puts:
            realm, message, _, hour = put.key
            counts = found.setdefault((realm, message, block, hour), Counter())
            for packed in put.values.values():
                counts.update(dict(_unpacked(packed)))
        for key, counts in found.items():
            sums = {column: counts[name] for name, column in _COLUMN_OF.items()}
            yield Put(BLOCKS, key, sums, _end(block))

    def unsummed(self, block: int) -> Iterable[Write]:
        yield Put(UNSUMMED, ("", DELIVERY, block), {"passed": _end(block)}, _end(block))

    async def check(self, generation: Generation) -> list[str]:
        """Rows that count nothing, and blocks whose sums are not those of their rows."""
        at = await generation.checkpoint(self.name, DELIVERY)
        finished = (at.position + 1) // BLOCK if at else 0
        passed_over = await _unsummed(generation)
        empty, cells = 0, Counter[int]()
        async for page in generation.scan(HOURS):
            for row in page:
                counted = list(filter(None, _cells_of(row)))
                empty += not counted
                if (block := row["window"] // WINDOWS) < finished and block not in passed_over:
                    cells.update(counted)
        in_blocks: Counter[str] = Counter()
        async for page in generation.scan(BLOCKS):
            for row in page:
                in_blocks.update(_counts_in(row))
        wrong = [f"{empty} hours count nothing"] if empty else []
        if +in_blocks != +_counts_of(cells):
            wrong.append("the sums of blocks are not those of their rows")
        return wrong


def _end(block: int) -> int:
    """The last position of a block."""
    return (block + 1) * BLOCK - 1


def _hour(fact: Recorded, message: UUID, at: datetime, counts: Counter[str]) -> Iterable[Write]:
    if counts:
        window, cell = divmod(fact.position, WINDOW)
        key = (fact.realm, message, window, hour_of(at))
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


def _counts_in(sums: Row) -> dict[str, int]:
    """Of a row of BLOCKS."""
    return {name: sums[column] for name, column in _COLUMN_OF.items()}


def _counts_of(cells: Counter[int]) -> Counter[str]:
    """What these cells count together, each as often as it is there; most of a message are equal."""
    counts: Counter[str] = Counter()
    for packed, times in cells.items():
        for name, number in _unpacked(packed):
            counts[name] += number * times
    return counts


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
    """In UTC. What lies before or after all of its time, as a sender may report it, is in the first or last hour."""
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        at = FIRST if at.year == MINYEAR else LAST
    return at.replace(minute=0, second=0, microsecond=0)


def total(hours: dict[datetime, Counter[str]]) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for counts in hours.values():
        summed.update(counts)
    return with_sent(summed)


def with_sent(counts: Counter[str]) -> dict[str, int]:
    return {"sent": counts["delivered"] + counts["notDelivered"], **{name: counts[name] for name in COUNTED}}


async def hours_of(
    models: ReadModels,
    realm: str,
    campaign: UUID,
    start: datetime,
    end: datetime,
    *,
    copied_since: datetime = FIRST,
) -> dict[datetime, Counter[str]]:
    """What counts for a message, those to single visitors included, in the hours that touch [start, end).

    copied_since: copies of before are passed over, by who knows that nothing counts of them any more.
    """
    sum_ = _Sum(hour_of(start), end)
    unsummed = await _unsummed(models)
    await _add(models, (realm, campaign), sum_, unsummed)
    async for copies in copies_of(models, realm, campaign):
        partitions = [
            (realm, copy["message"])
            for copy in copies
            if copied_since <= copy["accepted"] and copy["accepted"] - AHEAD <= end
        ]
        rows_of = await models.range_many(HOURS, partitions, limit_each=CHUNK) if partitions else {}
        for partition, rows in rows_of.items():
            if len(rows) < CHUNK:
                sum_.add(rows)
            else:
                await _add(models, partition, sum_, unsummed)
    return sum_.found


class _Sum:
    """What is counted in the hours that touch [first, end)."""

    def __init__(self, first: datetime, end: datetime) -> None:
        self._first, self._end = first, end
        self.found: dict[datetime, Counter[str]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Of HOURS."""
        by_hour: dict[datetime, list[Row]] = {}
        for row in rows:
            by_hour.setdefault(row["hour"], []).append(row)
        for hour, of_hour in by_hour.items():
            if self._first <= hour < self._end:
                cells = Counter(filter(None, chain.from_iterable(map(_cells_of, of_hour))))
                self._of(hour).update(_counts_of(cells))

    def add_sums(self, rows: Iterable[Row]) -> None:
        """Of BLOCKS."""
        for row in rows:
            if self._first <= row["hour"] < self._end:
                self._of(row["hour"]).update(_counts_in(row))

    def _of(self, hour: datetime) -> Counter[str]:
        return self.found.setdefault(hour, Counter())


async def _add(models: ReadModels, message: Key, sum_: _Sum, unsummed: Sequence[int]) -> None:
    """The sums of finished blocks, and the rows of those that have none."""
    next_block = 0
    async for rows in pages(models, BLOCKS, message, chunk=CHUNK):
        sum_.add_sums(rows)
        if rows:
            next_block = rows[-1]["block"] + 1
    for block in unsummed:
        if block < next_block:
            await _add_rows(models, message, sum_, block, block + 1)
    await _add_rows(models, message, sum_, next_block, None)


async def _add_rows(models: ReadModels, message: Key, sum_: _Sum, first: int, last: int | None) -> None:
    """What HOURS has from one block up to another, or to the end."""
    after: Key = (first * WINDOWS - 1,)
    before: Key | None = None if last is None else (last * WINDOWS,)
    async for rows in pages(models, HOURS, message, after=after, before=before, chunk=CHUNK):
        sum_.add(rows)


async def _unsummed(models: ReadModels) -> list[int]:
    rows = await models.range(UNSUMMED, ("", DELIVERY), limit=UNSUMMED_MAX)
    return [row["block"] for row in rows]


async def consumed(models: ReadModels, realm: str, domain: str, start: datetime, end: datetime) -> int:
    """Billable sends of a domain in the hours that touch [start, end)."""
    since = max(start, FIRST_DAY) - LIFE
    campaigns = {row["message"] async for row in messages_of(models, realm, domain, since, end)}
    campaigns |= await sent_later(models, realm, domain, since, end)
    sends = 0
    for campaign in campaigns:
        hours = await hours_of(models, realm, campaign, start, end, copied_since=since)
        sends += total(hours)["billableSends"]
    return sends
