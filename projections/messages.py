"""Messages: the state of each, a thread's messages newest first, and the realm's recent and upcoming ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.message import Message, ToThread
from domain.recorded import EVENTS, Recorded
from projections.checks import counts, narrow
from projections.port import Delete, Generation, Key, Put, ReadModels, Row, Table, Write

MESSAGES = Table(
    projection="messages",
    name="messages",
    partition={"realm": "text", "message": "uuid"},
    columns={
        "tid": "text",
        "thread": "uuid",
        "sender": "text",
        "subject": "text",
        "text": "text",
        "opts": "json",
        "urgency": "bigint",
        "channels": "json",
        "audience": "text",
        "app": "text",
        "parent": "text",
        "accepted": "timestamp",
        "accepted_at": "bigint",
        "scheduled": "timestamp",
        "expires": "timestamp",
        "due": "timestamp",
        "due_at": "bigint",
        "cancelled": "timestamp",
        "dispatched": "timestamp",
        "contacts": "bigint",
        "sends": "bigint",
        "left_out": "bigint",
        "settled": "timestamp",
        "totals": "json",
    },
)
"""Confidential content is left out: only the log has it, sealed. left_out: contacts that were suppressed."""

THREAD_MESSAGES = Table(
    projection="messages",
    name="thread_messages",
    partition={"realm": "text", "thread": "uuid", "month": "text"},
    clustering={"position": "bigint"},
    columns={"message": "uuid"},
    newest_first=True,
)

RECENT = Table(
    projection="messages",
    name="recent_messages",
    partition={"realm": "text", "month": "text"},
    clustering={"position": "bigint"},
    columns={"message": "uuid"},
    newest_first=True,
)
"""What does not wait for its time any more, by when that ended: accepted at once, fallen due, or cancelled."""

UPCOMING = Table(
    projection="messages",
    name="upcoming_messages",
    partition={"realm": "text"},
    clustering={"scheduled": "timestamp", "message": "uuid"},
    columns={"tid": "text"},
)

MONTHS_MAX = 120
"""How far back a listing walks: ten years of months without a message end it."""


class Messages:
    """The projection."""

    name, version = "messages", 3
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.message.>",)}
    tables = (MESSAGES, THREAD_MESSAGES, RECENT, UPCOMING)

    def project(self, fact: Recorded) -> Iterable[Write]:
        event = fact.body
        if not isinstance(event, Message.Event):
            return
        id = event.originator_id
        yield Put(MESSAGES, (fact.realm, id), _values(fact, event), fact.position)
        match event:
            case Message.Accepted():
                yield from _listings(fact, event)
            case Message.Due() | Message.Cancelled() if event.scheduled_at:
                yield Delete(UPCOMING, (fact.realm, event.scheduled_at, id), fact.position)
                yield _recent(fact, id)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        states = narrow(MESSAGES, "accepted_at", "due", "dispatched")
        unknown, early = await counts(
            generation, states, lambda row: row["accepted_at"] is None, _ended_before_due
        )
        problems = [f"{unknown} messages were never accepted"] if unknown else []
        return [*problems, f"{early} messages went out before they were due"] if early else problems


def _listings(fact: Recorded, event: Message.Accepted) -> Iterable[Write]:
    id = event.originator_id
    if isinstance(event.audience, ToThread):
        key: Key = (fact.realm, event.audience.thread, month_of(fact.at), fact.position)
        yield Put(THREAD_MESSAGES, key, {"message": id}, fact.position)
    if event.scheduled_at:
        key = (fact.realm, event.scheduled_at, id)
        yield Put(UPCOMING, key, {"tid": event.tid}, fact.position)
    else:
        yield _recent(fact, id)


def _recent(fact: Recorded, message: UUID) -> Put:
    return Put(RECENT, (fact.realm, month_of(fact.at), fact.position), {"message": message}, fact.position)


def _values(fact: Recorded, event: Message.Event) -> dict[str, Any]:
    match event:
        case Message.Accepted():
            return _accepted(fact, event)
        case Message.Due():
            return {"due": fact.at, "due_at": fact.position, "expires": event.expires_at}
        case Message.Cancelled():
            return {"cancelled": fact.at}
        case Message.Dispatched():
            return {
                "dispatched": fact.at,
                "contacts": event.contacts,
                "sends": event.sends,
                "left_out": event.suppressed,
            }
        case Message.Settled():
            return {"settled": fact.at, "totals": event.totals}
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")


def _accepted(fact: Recorded, event: Message.Accepted) -> dict[str, Any]:
    values: dict[str, Any] = {
        "tid": event.tid,
        "thread": event.audience.thread if isinstance(event.audience, ToThread) else None,
        "sender": event.sender,
        "urgency": event.urgency,
        "channels": event.channels,
        "audience": msgspec.to_builtins(event.audience)["type"],
        "app": event.app or None,
        "parent": event.parent,
        "accepted": fact.at,
        "accepted_at": fact.position,
        "scheduled": event.scheduled_at,
        "expires": event.expires_at,
    }
    if event.scheduled_at is None:
        values |= {"due": fact.at, "due_at": fact.position}
    if event.content and not event.confidential:
        content = event.content
        values |= {"subject": content.subject, "text": content.text, "opts": content.opts}
    # The first fact of its row has nothing to clear, and what is cleared costs a store as much as what is set.
    return {name: value for name, value in values.items() if value is not None}


def _ended_before_due(row: Row) -> bool:
    return row["dispatched"] is not None and row["due"] is None


def state_of(row: Row) -> str:
    """The message's state in one word, by rank: settled, dispatched, cancelled, due, scheduled."""
    for state in ("settled", "dispatched", "cancelled", "due"):
        if row[state] is not None:
            return state
    return "scheduled"


def month_of(at: datetime) -> str:
    return f"{at.year:04d}-{at.month:02d}"


async def find(models: ReadModels, realm: str, message: UUID) -> Row | None:
    row = await models.get(MESSAGES, (realm, message))
    return row if row and row["accepted_at"] is not None else None


async def of_thread(
    models: ReadModels,
    realm: str,
    thread: UUID,
    *,
    since: datetime,
    now: datetime,
    before: int | None,
    limit: int,
) -> list[Row]:
    """A thread's messages before a position, newest first; since: when the thread was opened."""
    return await _by_month(models, THREAD_MESSAGES, (realm, thread), since, now, before, limit)


async def recent(models: ReadModels, realm: str, *, since: datetime, now: datetime, limit: int) -> list[Row]:
    """Messages that wait for no time, newest first: a scheduled one by when it fell due or was cancelled."""
    return await _by_month(models, RECENT, (realm,), since, now, None, limit)


async def upcoming(models: ReadModels, realm: str, *, limit: int) -> list[Row]:
    """Scheduled messages that are not due yet, soonest first."""
    listed = await models.range(UPCOMING, (realm,), limit=limit)
    return await _messages(models, realm, listed)


async def _by_month(
    models: ReadModels,
    table: Table,
    owner: Key,
    since: datetime,
    now: datetime,
    before: int | None,
    limit: int,
) -> list[Row]:
    listed: list[Row] = []
    after = None if before is None else (before,)
    for month in _months(since, now):
        listed += await models.range(table, (*owner, month), after=after, limit=limit - len(listed))
        if len(listed) >= limit:
            break
    return await _messages(models, owner[0], listed)


async def _messages(models: ReadModels, realm: str, listed: list[Row]) -> list[Row]:
    rows = await models.get_many(MESSAGES, [(realm, row["message"]) for row in listed])
    return [row for row in rows if row is not None]


def _months(since: datetime, now: datetime) -> Iterable[str]:
    """Months from now back to `since`, at most ten years of them."""
    number, last = now.year * 12 + now.month - 1, since.year * 12 + since.month - 1
    for month in range(number, max(last, number - MONTHS_MAX) - 1, -1):
        yield f"{month // 12:04d}-{month % 12 + 1:02d}"
