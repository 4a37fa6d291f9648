"""Deliveries: what became of one message for one client on one channel, and the totals.

States are columns, each with the time it was reached; the status is derived by rank when it is read, so the order of
arrival doesn't matter. Totals are one row per page or slice, summed when they are read: no counters. What is under way
is one row per slice, too, and found when it is asked for: a row of each recipient's own would be written twice for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any, assert_never
from uuid import UUID

from domain.deliveries.channel import WEBSOCKET
from domain.deliveries.delivery import (
    PAGE_SIZE,
    Attempt,
    AudienceEntry,
    AudiencePage,
    Dispatch,
    OutcomeSlice,
    Receipt,
    Recipient,
    Result,
)
from domain.deliveries.outcome import (
    Accepted,
    Expired,
    Gone,
    Outcome,
    Rejected,
    Retry,
    Suppressed,
    Unknown,
)
from domain.recorded import DELIVERY, Recorded
from projections.checks import narrow
from projections.paging import pages_with, walk
from projections.port import Generation, Key, Put, PutMany, ReadModels, Row, Table, Write

BUCKETS = 16
"""Buckets of one message's deliveries: a broadcast to millions has no partition over 100,000 rows or so."""

STATES_BY_RANK = (
    "unsubscribed",
    "clicked",
    "read",
    "delivered",
    "bounced",
    "accepted",
    "gone",
    "rejected",
    "suppressed",
    "expired",
    "unknown",
    "retrying",
    "attempted",
    "planned",
)
"""The first of these that was reached is the delivery's status."""

TERMINAL = ("accepted", "gone", "rejected", "suppressed", "expired")
"""A delivery ends in exactly one of these; receipts come after `accepted`."""

DELIVERIES = Table(
    projection="deliveries",
    name="deliveries",
    partition={"realm": "text", "message": "uuid", "bucket": "bigint"},
    clustering={"contact": "uuid", "channel": "text", "client": "text"},
    columns={
        **dict.fromkeys(STATES_BY_RANK, "timestamp"),
        "dispatch": "text",
        "provider_id": "text",
        "code": "text",
        "detail": "text",
        "repeated": "boolean",
        "updated_at": "bigint",
    },
    as_they_come=True,
)
"""client: 32 hex digits, or "" for the contact's own address. repeated: it may have been sent twice.

Written twice for every delivery there is, by the hundred and nearly in their order; few are ever read.
"""

TOTALS = Table(
    projection="deliveries",
    name="delivery_totals",
    partition={"realm": "text", "message": "uuid"},
    clustering={"part": "text"},
    columns={"counts": "json"},
)

ATTEMPTS = Table(
    projection="deliveries",
    name="delivery_attempts",
    partition={"realm": "text", "message": "uuid", "channel": "text", "dispatch": "text"},
    clustering={"first": "bigint"},
    columns={"last": "bigint", "started": "timestamp", "ended": "timestamp"},
)
"""Slices of dispatches: the places first..last (exclusive), under way from `started` until there is an `ended`."""

PLACES = Table(
    projection="deliveries",
    name="delivery_places",
    partition={"realm": "text", "message": "uuid", "channel": "text", "dispatch": "text"},
    columns={"who": "text"},
)
"""who: the 32 hex digits of each recipient's client, or contact, in the order of the dispatch."""

ID_CHARS = 32

TOTALS_FIRST, TOTALS_READ = 100, 1_000
"""Rows of a message's totals that are read at a time: most messages have a few, and a short read is answered at once.
"""

PLANNED = ("accepted", "left_out", "sends")
"""What a page or a dispatch counts, one for each delivery: shown on sockets, left out, sent."""

NOBODY = UUID(int=0)
"""Stands for the contact of a client that belongs to none."""


class Deliveries:
    """The projection."""

    name, version = "deliveries", 2
    streams = (DELIVERY,)
    tables = (DELIVERIES, TOTALS, ATTEMPTS, PLACES)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case AudiencePage() as page:
                return _of_page(fact, page)
            case Dispatch() as dispatch:
                return _of_dispatch(fact, dispatch)
            case Attempt() as attempt:
                return _of_attempt(fact, attempt)
            case OutcomeSlice() as ended:
                return _of_outcomes(fact, ended)
            case Receipt() as receipt:
                return _of_receipt(fact, receipt)
            case _:
                raise ValueError(f"no rule for {type(fact.body).__qualname__}")

    async def check(self, generation: Generation) -> list[str]:
        """Every delivery that pages and dispatches count has its row, and no other row was planned."""
        counted: Counter[UUID] = Counter()
        async for page in generation.scan(TOTALS):
            for row in page:
                if not row["part"].startswith("outcome-"):
                    counts = row["counts"] or {}
                    counted[row["message"]] += sum(counts.get(kind, 0) for kind in PLANNED)
        async for page in generation.scan(narrow(DELIVERIES, "planned")):
            for row in page:
                counted[row["message"]] -= row["planned"] is not None or row["channel"] == ""
        wrong = sum(1 for difference in counted.values() if difference)
        return [f"{wrong} messages have more or fewer deliveries than were planned"] if wrong else []


def _of_page(fact: Recorded, page: AudiencePage) -> Iterable[Write]:
    counts: Counter[str] = Counter(contacts=len(page.entries))
    shown: list[AudienceEntry] = []
    for entry in page.entries:
        if entry.left_out:
            counts["devices_left_out"] += entry.left_out
        if entry.suppressed:
            counts["left_out"] += 1
            values = {"suppressed": fact.at, "code": entry.suppressed, "updated_at": fact.position}
            yield _row(fact, page.message, entry.contact, "", None, values)
        elif WEBSOCKET in entry.channels:
            shown.append(entry)
    if shown:
        counts["accepted"] = len(shown)
        whom = [Recipient(entry.contact, None) for entry in shown]
        yield _many(fact, page.message, WEBSOCKET, _whom(whom), {"planned": fact.at, "accepted": fact.at})
    yield _total(fact, page.message, f"audience-{page.page}", counts)


def _of_dispatch(fact: Recorded, dispatch: Dispatch) -> Iterable[Write]:
    if not dispatch.is_first:
        return
    whom = _whom(dispatch.recipients)
    planned = {"planned": fact.at, "dispatch": dispatch.id}
    yield _many(fact, dispatch.message, dispatch.channel, whom, planned)
    who = "".join(
        [client or contact.hex for client, contact in zip(whom["client"], whom["contact"], strict=True)]
    )
    place = (fact.realm, dispatch.message, dispatch.channel, dispatch.id)
    yield Put(PLACES, place, {"who": who}, fact.position)
    counts = Counter(sends=len(dispatch.recipients))
    yield _total(fact, dispatch.message, f"dispatch-{dispatch.channel}-{dispatch.id}", counts)


def _of_attempt(fact: Recorded, attempt: Attempt) -> Iterable[Write]:
    key = (fact.realm, attempt.message, attempt.channel, attempt.dispatch, attempt.first)
    yield Put(ATTEMPTS, key, {"last": attempt.last, "started": attempt.started_at}, fact.position)


def _of_outcomes(fact: Recorded, ended: OutcomeSlice) -> Iterable[Write]:
    twice = ended.perhaps_twice()
    if ended.late:
        again = [ended.results[place] for place in sorted(twice)]
        yield _many(fact, ended.message, ended.channel, _whom(again), {"repeated": True})
        return
    if not ended.results:
        return
    key = (fact.realm, ended.message, ended.channel, ended.dispatch, ended.first)
    yield Put(ATTEMPTS, key, {"ended": ended.ended_at}, fact.position)
    counts: Counter[str] = Counter()
    attempted = {"attempted": ended.started_at or ended.ended_at, "dispatch": ended.dispatch}
    alike: defaultdict[tuple[type[Outcome], bool], list[Result]] = defaultdict(list)
    for place, result in enumerate(ended.results):
        alike[type(result.outcome), place in twice].append(result)
    for (_, is_repeated), results in alike.items():
        state, said = _said([result.outcome for result in results])
        counts[state] += len(results)
        reached = {**attempted, state: fact.at, **({"repeated": True} if is_repeated else {})}
        yield _many(fact, ended.message, ended.channel, {**_whom(results), **said}, reached)
    part = f"outcome-{ended.channel}-{ended.dispatch}-{ended.first}"
    yield _total(fact, ended.message, part, counts)


def _said(outcomes: Sequence[Outcome]) -> tuple[str, Mapping[str, Sequence[Any]]]:
    """The state that outcomes of one kind mean, and, by column, what each of them says beside."""
    match outcomes[0]:
        case Accepted():
            accepted = [each for each in outcomes if isinstance(each, Accepted)]
            return "accepted", {
                "provider_id": [each.provider_id for each in accepted],
                "code": [None] * len(accepted),
                "detail": [each.detail for each in accepted],
            }
        case Retry():
            state = "retrying"
        case Gone():
            state = "gone"
        case Rejected():
            state = "rejected"
        case Suppressed():
            state = "suppressed"
        case Expired():
            state = "expired"
        case Unknown():
            state = "unknown"
        case _:
            assert_never(outcomes[0])
    others = [each for each in outcomes if not isinstance(each, Accepted)]
    return state, {
        "code": [each.code for each in others],
        "detail": [each.detail or None for each in others],
    }


def _of_receipt(fact: Recorded, receipt: Receipt) -> Iterable[Write]:
    values = {receipt.kind: receipt.at, "updated_at": fact.position}
    if receipt.detail:
        values["detail"] = receipt.detail
    yield _row(fact, receipt.message, receipt.contact, receipt.channel, receipt.client, values)


def _many(
    fact: Recorded, message: UUID, channel: str, own: Mapping[str, Sequence[Any]], values: Mapping[str, Any]
) -> PutMany:
    """Deliveries on one channel. own: what `_whom` gives, and further columns."""
    key = {"realm": fact.realm, "message": message, "channel": channel}
    return PutMany(DELIVERIES, {**key, **values, "updated_at": fact.position}, own, fact.position)


def _row(
    fact: Recorded,
    message: UUID,
    contact: UUID | None,
    channel: str,
    client: UUID | None,
    values: Mapping[str, Any],
) -> Put:
    return Put(
        DELIVERIES, _key(fact.realm, message, contact or NOBODY, channel, client), values, fact.position
    )


def _key(realm: str, message: UUID, contact: UUID, channel: str, client: UUID | None) -> Key:
    return (realm, message, contact.int % BUCKETS, contact, channel, client.hex if client else "")


def _whom(whom: Sequence[Recipient | Result]) -> dict[str, Sequence[Any]]:
    """What tells deliveries of one message on one channel apart, as columns."""
    contacts = [to.contact or NOBODY for to in whom]
    return {
        "bucket": [contact.int % BUCKETS for contact in contacts],
        "contact": contacts,
        "client": [to.client.int.to_bytes(16).hex() if to.client else "" for to in whom],
    }


def _total(fact: Recorded, message: UUID, part: str, counts: Counter[str]) -> Put:
    return Put(TOTALS, (fact.realm, message, part), {"counts": dict(counts)}, fact.position)


def status_of(row: Row) -> str:
    """A delivery's status: the highest state it has reached."""
    return next((state for state in STATES_BY_RANK if row[state] is not None), "planned")


async def was_planned(
    models: ReadModels, realm: str, message: UUID, contact: UUID, channel: str, client: UUID | None
) -> bool:
    row = await models.get(DELIVERIES, _key(realm, message, contact, channel, client))
    return row is not None and row["planned"] is not None


async def of_message(
    models: ReadModels, realm: str, message: UUID, *, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """A message's deliveries, a page at a time; each row gets its `status`."""
    partitions = [(realm, message, bucket) for bucket in range(BUCKETS)]
    rows, cursor = await walk(models, DELIVERIES, partitions, cursor=cursor, limit=limit)
    await _add_attempts(models, realm, message, [row for row in rows if status_of(row) == "planned"])
    return [{**row, "status": status_of(row)} for row in rows], cursor


async def _add_attempts(models: ReadModels, realm: str, message: UUID, planned: Sequence[Row]) -> None:
    """Put the time into the rows of those whose first try is under way."""
    dispatches = {(realm, message, row["channel"], row["dispatch"]) for row in planned if row["dispatch"]}
    started: dict[tuple[str, str], datetime] = {}
    for some in batched(sorted(dispatches), PAGE_SIZE):
        attempts = await models.range_many(ATTEMPTS, some, limit_each=PAGE_SIZE)
        under_way = [(key, each) for key, found in attempts.items() for each in found if _is_under_way(each)]
        places = await models.get_many(PLACES, [key for key, _ in under_way])
        for (key, attempt), place in zip(under_way, places, strict=True):
            started.update(((key[2], id), attempt["started"]) for id in _ids(place, attempt))
    for row in planned:
        row["attempted"] = started.get((row["channel"], row["client"] or row["contact"].hex))


def _is_under_way(attempt: Row) -> bool:
    return attempt["started"] is not None and attempt["ended"] is None


def _ids(places: Row | None, attempt: Row) -> list[str]:
    """The recipients that an attempt is for; none where the log begins after their dispatch."""
    who = places["who"] if places is not None else ""
    begins = range(attempt["first"] * ID_CHARS, min(attempt["last"] * ID_CHARS, len(who)), ID_CHARS)
    return [who[at : at + ID_CHARS] for at in begins]


async def totals(models: ReadModels, realm: str, message: UUID) -> dict[str, int]:
    """Sums over all pages and slices.

    contacts, left_out (contacts suppressed before any send), devices_left_out (of contacts with very many),
    sends (planned through gateways), accepted (sockets included), gone, rejected,
    suppressed, expired; open: sends without a terminal outcome yet. `retrying` and `unknown` count outcomes, not
    deliveries.
    """
    summed: Counter[str] = Counter()
    ended = 0
    key = (realm, message)
    first = await models.range(TOTALS, key, limit=TOTALS_FIRST)
    async for rows in pages_with(models, TOTALS, key, first, limit=TOTALS_FIRST, chunk=TOTALS_READ):
        for row in rows:
            counts = row["counts"] or {}
            summed.update(counts)
            if row["part"].startswith("outcome-"):
                ended += sum(counts.get(state, 0) for state in TERMINAL)
    return {**summed, "sends": summed["sends"], "open": summed["sends"] - ended}
