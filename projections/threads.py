"""Threads, and who is subscribed to them, by intervals: any past audience can be asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from domain.ids import PARTITIONS, partition
from domain.recorded import EVENTS, Recorded
from domain.routing import Channels
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from projections.checks import count, narrow
from projections.paging import cursor_after, stream, walk
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

THREAD_BUCKETS = tuple(f"{number:02x}" for number in range(PARTITIONS))
MEMBER_BUCKETS = 16
"""Buckets of one thread's members, so that a thread of millions has no partition over 100,000 rows or so."""

THREADS = Table(
    projection="threads",
    name="threads",
    partition={"realm": "text", "bucket": "text"},
    clustering={"thread": "uuid"},
    columns={
        "tid": "text",
        "settings": "json",
        "opened": "timestamp",
        "changed": "timestamp",
        "closed": "timestamp",
    },
)

MEMBERS = Table(
    projection="threads",
    name="members",
    partition={"realm": "text", "thread": "uuid", "bucket": "bigint"},
    clustering={"contact": "uuid", "number": "bigint"},
    columns={
        "uid": "text",
        "from_at": "bigint",
        "until_at": "bigint",
        "channels": "json",
        "since": "timestamp",
    },
)
"""One row per interval of membership: from_at <= position < until_at."""

MEMBERSHIPS = narrow(MEMBERS, "from_at", "until_at", "channels")
"""Hot path: what decides on an audience; a dispatcher reads it for each contact."""

CONTACT_THREADS = Table(
    projection="threads",
    name="contact_threads",
    partition={"realm": "text", "contact": "uuid"},
    clustering={"thread": "uuid"},
    columns={"tid": "text", "active": "boolean", "channels": "json"},
)


class Threads:
    """The projection."""

    name, version = "threads", 1
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.thread.>", "evt.subscription.>")}
    tables = (THREADS, MEMBERS, CONTACT_THREADS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Thread.Event() as event:
                yield _thread_write(fact, event)
            case Subscription.Event() as event:
                yield from _member_writes(fact, event)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        wrong = await count(
            generation,
            narrow(MEMBERS, "from_at", "until_at"),
            lambda row: row["from_at"] is None or (row["until_at"] or row["from_at"]) < row["from_at"],
        )
        return [f"{wrong} memberships end without a beginning, or before it"] if wrong else []


def _thread_write(fact: Recorded, event: Thread.Event) -> Put:
    key = thread_key(fact.realm, event.originator_id)
    match event:
        case Thread.Opened():
            settings = msgspec.to_builtins(event.settings)
            values = {"tid": event.tid, "settings": settings, "opened": fact.at, "changed": fact.at}
        case Thread.Changed():
            values = {"settings": msgspec.to_builtins(event.settings), "changed": fact.at}
        case Thread.Closed():
            values = {"closed": fact.at}
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")
    return Put(THREADS, key, values, fact.position)


def _member_writes(fact: Recorded, event: Subscription.Event) -> Iterable[Write]:
    match event:
        case Subscription.Started() | Subscription.Resumed():
            member = {"uid": event.uid, "from_at": fact.position, "since": fact.at}
            yield _member(fact, event.thread, event.contact, event.number, member)
            yield _of_contact(
                fact, event.thread, event.contact, {"tid": event.tid, "active": True, "channels": None}
            )
        case Subscription.Ended():
            until = {"until_at": fact.position}
            yield _member(fact, event.thread, event.contact, event.number, until)
            yield _of_contact(fact, event.thread, event.contact, {"active": False})
        case Subscription.PreferencesSet():
            values = {"channels": event.channels}
            yield _member(fact, event.thread, event.contact, event.number, values)
            yield _of_contact(fact, event.thread, event.contact, values)
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")


def _member(fact: Recorded, thread: UUID, contact: UUID, number: int, values: Mapping[str, Any]) -> Put:
    key = (fact.realm, thread, contact.int % MEMBER_BUCKETS, contact, number)
    return Put(MEMBERS, key, values, fact.position)


def _of_contact(fact: Recorded, thread: UUID, contact: UUID, values: Mapping[str, Any]) -> Put:
    return Put(CONTACT_THREADS, (fact.realm, contact, thread), values, fact.position)


def thread_key(realm: str, thread: UUID) -> tuple[str, str, UUID]:
    return (realm, partition(thread), thread)


def settings_of(row: Row) -> Settings:
    return msgspec.convert(row["settings"], Settings)


async def find(models: ReadModels, realm: str, thread: UUID) -> Row | None:
    return await models.get(THREADS, thread_key(realm, thread))


async def listed(
    models: ReadModels, realm: str, *, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """Open threads of a realm, a page at a time."""
    partitions = [(realm, bucket) for bucket in THREAD_BUCKETS]
    rows, cursor = await walk(models, THREADS, partitions, cursor=cursor, limit=limit)
    return [row for row in rows if row["closed"] is None and row["tid"] is not None], cursor


async def members(
    models: ReadModels, realm: str, thread: UUID, *, as_of: int | None, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """Who was subscribed at a position (None: now), a page at a time."""
    rows, cursor = await walk(models, MEMBERS, _member_partitions(realm, thread), cursor=cursor, limit=limit)
    return [row for row in rows if is_member(row, as_of)], cursor


def all_members(
    models: ReadModels, realm: str, thread: UUID, *, cursor: str | None, chunk: int
) -> AsyncGenerator[Row]:
    """Every interval of membership there ever was, in a fixed order: what `is_member` and `member_channels` need."""
    return stream(models, MEMBERSHIPS, _member_partitions(realm, thread), cursor=cursor, chunk=chunk)


def member_cursor(row: Row) -> str:
    """Where `all_members` goes on after a row."""
    return cursor_after(MEMBERS, _member_partitions(row["realm"], row["thread"]), row)


def _member_partitions(realm: str, thread: UUID) -> list[Key]:
    return [(realm, thread, bucket) for bucket in range(MEMBER_BUCKETS)]


def is_member(row: Row, as_of: int | None) -> bool:
    if row["from_at"] is None:
        return False
    if as_of is None:
        return row["until_at"] is None
    return bool(row["from_at"] <= as_of and (row["until_at"] is None or row["until_at"] > as_of))


def member_channels(row: Row) -> Channels:
    return None if row["channels"] is None else tuple(row["channels"])


async def of_contact(models: ReadModels, realm: str, contact: UUID) -> list[Row]:
    """The threads a contact is subscribed to now."""
    rows = await models.range(CONTACT_THREADS, (realm, contact), limit=10_000)
    return [row for row in rows if row["active"]]


async def all_of_contact(
    models: ReadModels, realm: str, contact: UUID, *, chunk: int = 500
) -> AsyncGenerator[Row]:
    """The same without an end: for what must leave none out."""
    after: tuple[UUID] | None = None
    while True:
        rows = await models.range(CONTACT_THREADS, (realm, contact), after=after, limit=chunk)
        for row in rows:
            if row["active"]:
                yield row
        if len(rows) < chunk:
            return
        after = (rows[-1]["thread"],)


async def is_subscribed(models: ReadModels, realm: str, thread: UUID, contact: UUID) -> bool:
    row = await models.get(CONTACT_THREADS, (realm, contact, thread))
    return bool(row and row["active"])
