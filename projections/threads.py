"""Threads, and who is subscribed to them, by intervals: any past audience can be asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, TypeGuard
from uuid import UUID

import msgspec

from domain.deliveries.routing import Channels
from domain.ids import PARTITIONS, partition
from domain.recorded import EVENTS, Recorded
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from projections.checks import count, narrow
from projections.paging import cursor_after, pages, stream, walk_kept
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

THREAD_BUCKETS = tuple(f"{number:02x}" for number in range(PARTITIONS))
CONTACT_THREADS_MAX = 10_000
"""Threads of one contact that are listed, and followed by one socket."""
INTERVALS_READ = 20
"""Of one membership, when it is asked for by itself: who has left and come back since that often is not found."""
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
        "granted_at": "bigint",
        "channels": "json",
        "since": "timestamp",
    },
)
"""One row per interval of membership: from_at <= position < until_at. granted_at: from then on whatever the thread's
settings say; before, and without it, as long as they let its uid in.
"""

MEMBERSHIPS = narrow(MEMBERS, "uid", "from_at", "until_at", "granted_at", "channels")
"""Hot path: what decides on an audience; a dispatcher reads it for each contact."""

CONTACT_THREADS = Table(
    projection="threads",
    name="contact_threads",
    partition={"realm": "text", "contact": "uuid"},
    clustering={"thread": "uuid"},
    columns={"tid": "text", "uid": "text", "active": "boolean", "granted": "boolean", "channels": "json"},
)

DOORS = Table(
    projection="threads",
    name="doors",
    partition={"realm": "text", "thread": "uuid"},
    clustering={"from_at": "bigint"},
    columns={"open": "boolean", "uids": "json"},
)
"""Whom a thread's settings let in, from a position on."""


class Door(msgspec.Struct, frozen=True):
    """Whom a thread's settings let in at a position (None: now). open: everybody."""

    as_of: int | None
    open: bool
    uids: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Door:
        return cls(None, settings.lets_everybody_in, frozenset(_let_in(settings)))

    def holds(self, row: Row) -> bool:
        """Whether an interval of membership is one at the position, the settings being what they were."""
        if row["from_at"] is None:
            return False
        if self.as_of is None:
            active, granted = row["until_at"] is None, row["granted_at"] is not None
        else:
            active = row["from_at"] <= self.as_of and (row["until_at"] or self.as_of + 1) > self.as_of
            granted = (row["granted_at"] or self.as_of + 1) <= self.as_of
        return active and (granted or self.open or row["uid"] in self.uids)


class Threads:
    """The projection."""

    name, version = "threads", 2
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.thread.>", "evt.subscription.>")}
    tables = (THREADS, MEMBERS, CONTACT_THREADS, DOORS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Thread.Event() as event:
                yield from _thread_writes(fact, event)
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


def _thread_writes(fact: Recorded, event: Thread.Event) -> Iterable[Write]:
    key = thread_key(fact.realm, event.originator_id)
    if isinstance(event, Thread.Opened | Thread.Changed):
        door = {"open": event.settings.lets_everybody_in, "uids": _let_in(event.settings)}
        yield Put(DOORS, (fact.realm, event.originator_id, fact.position), door, fact.position)
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
    yield Put(THREADS, key, values, fact.position)


def _let_in(settings: Settings) -> list[str]:
    """By name."""
    return [uid for uid in (settings.owner, *settings.admins) if uid]


def _is_granted(fact: Recorded, event: Subscription.Started | Subscription.Resumed) -> bool:
    """Before it was written down, who made somebody else a member was an admin, or one of our own processes."""
    return fact.actor != event.uid if event.granted is None else event.granted


def _member_writes(fact: Recorded, event: Subscription.Event) -> Iterable[Write]:
    match event:
        case Subscription.Started() | Subscription.Resumed():
            granted = _is_granted(fact, event)
            member = {"uid": event.uid, "from_at": fact.position, "since": fact.at}
            if granted:
                member["granted_at"] = fact.position
            yield _member(fact, event.thread, event.contact, event.number, member)
            joined = {
                "tid": event.tid,
                "uid": event.uid,
                "active": True,
                "granted": granted,
                "channels": None,
            }
            yield _of_contact(fact, event.thread, event.contact, joined)
        case Subscription.Granted():
            since = {"granted_at": fact.position}
            yield _member(fact, event.thread, event.contact, event.number, since)
            yield _of_contact(fact, event.thread, event.contact, {"granted": True})
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
    models: ReadModels,
    realm: str,
    *,
    cursor: str | None,
    limit: int,
    shown: Callable[[Row], bool] = lambda _: True,
) -> tuple[list[Row], str | None]:
    """Open threads of a realm that are to be shown, a page at a time."""
    partitions = [(realm, bucket) for bucket in THREAD_BUCKETS]

    def keep(row: Row) -> bool:
        return is_open(row) and shown(row)

    return await walk_kept(models, THREADS, partitions, keep=keep, cursor=cursor, limit=limit)


async def members(
    models: ReadModels, realm: str, thread: UUID, *, as_of: int | None, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """Who was subscribed at a position (None: now), a page at a time."""
    door = await door_at(models, realm, thread, as_of)
    partitions = _member_partitions(realm, thread)
    return await walk_kept(models, MEMBERS, partitions, keep=door.holds, cursor=cursor, limit=limit)


async def door_at(models: ReadModels, realm: str, thread: UUID, as_of: int | None) -> Door:
    before = None if as_of is None else (as_of + 1,)
    rows = await models.range(DOORS, (realm, thread), after=before, limit=1, backwards=True)
    if not rows:
        return Door(as_of, open=False, uids=frozenset())
    return Door(as_of, rows[0]["open"], frozenset(rows[0]["uids"]))


def all_members(
    models: ReadModels, realm: str, thread: UUID, *, cursor: str | None, chunk: int
) -> AsyncGenerator[Row]:
    """Every interval of membership there ever was, in a fixed order: what `Door.holds` and `member_channels` need."""
    return stream(models, MEMBERSHIPS, _member_partitions(realm, thread), cursor=cursor, chunk=chunk)


async def member_at(models: ReadModels, realm: str, thread: UUID, contact: UUID, as_of: int) -> Row | None:
    """The interval in which somebody was subscribed at a position, if it is one of their last."""
    door = await door_at(models, realm, thread, as_of)
    partition = (realm, thread, contact.int % MEMBER_BUCKETS)
    newest = (contact, 2**62)
    rows = await models.range(MEMBERS, partition, after=newest, limit=INTERVALS_READ, backwards=True)
    return next((row for row in rows if row["contact"] == contact and door.holds(row)), None)


def member_cursor(row: Row) -> str:
    """Where `all_members` goes on after a row."""
    return cursor_after(MEMBERS, _member_partitions(row["realm"], row["thread"]), row)


def _member_partitions(realm: str, thread: UUID) -> list[Key]:
    return [(realm, thread, bucket) for bucket in range(MEMBER_BUCKETS)]


def member_channels(row: Row) -> Channels:
    return None if row["channels"] is None else tuple(row["channels"])


async def of_contact(models: ReadModels, realm: str, contact: UUID) -> list[Row]:
    """The open threads that a contact is subscribed to now."""
    rows = await models.range(CONTACT_THREADS, (realm, contact), limit=CONTACT_THREADS_MAX)
    own = [row for row in rows if row["active"]]
    found = await models.get_many(THREADS, [thread_key(realm, row["thread"]) for row in own]) if own else []
    return [
        row
        for row, thread in zip(own, found, strict=True)
        if is_open(thread) and membership_holds(row, settings_of(thread))
    ]


def is_open(row: Row | None) -> TypeGuard[Row]:
    """Whether the thread is there, and not closed."""
    return row is not None and row["tid"] is not None and row["closed"] is None


def membership_holds(row: Row, settings: Settings) -> bool:
    """Whether a contact's row of a thread is a membership now, the thread being as it is."""
    return bool(row["active"]) and (bool(row["granted"]) or settings.lets_in(row["uid"]))


async def all_of_contact(
    models: ReadModels, realm: str, contact: UUID, *, chunk: int = 500
) -> AsyncGenerator[Row]:
    """Memberships that have not ended, those that don't hold for now included, and however many: leaves none out."""
    async for rows in pages(models, CONTACT_THREADS, (realm, contact), chunk=chunk):
        for row in rows:
            if row["active"]:
                yield row


async def membership(models: ReadModels, realm: str, thread: UUID, contact: UUID) -> Row | None:
    """What `membership_holds` needs; None for who has never been subscribed."""
    return await models.get(CONTACT_THREADS, (realm, contact, thread))
