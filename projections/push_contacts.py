"""Push contacts of web domains: by domain, by visitor, and by mail address.

Rows of an index say who once had the visitor guid or address; who has it now, the push contact's own row says. Nothing
is counted but by looking.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from domain.client import Client
from domain.ids import PARTITIONS, partition
from domain.recorded import EVENTS, Recorded
from projections.checks import count, narrow
from projections.paging import pages, pages_with, stream
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

BUCKETS = tuple(f"{number:02x}" for number in range(PARTITIONS))
CHUNK = 500

PUSH_CONTACTS = Table(
    projection="push_contacts",
    name="push_contacts",
    partition={"realm": "text", "domain": "text", "bucket": "text"},
    clustering={"client": "uuid"},
    columns={
        "device_token": "text",
        "email": "text",
        "visitor": "text",
        "introduced": "bigint",
        "alive": "boolean",
        "modified": "timestamp",
    },
)
"""introduced: the position at which a site named it; clients of other apps have none. alive: it has an address."""

_STATES = narrow(PUSH_CONTACTS, "introduced", "alive")
"""As much of them as is counted."""

VISITORS = Table(
    projection="push_contacts",
    name="push_visitors",
    partition={"realm": "text", "domain": "text", "bucket": "text"},
    clustering={"visitor": "text", "client": "uuid"},
    columns={"since": "bigint"},
)
"""bucket: by the guid's first letter, so that the buckets in their order hold the guids in theirs."""

MAILBOXES = Table(
    projection="push_contacts",
    name="push_mailboxes",
    partition={"realm": "text", "domain": "text", "mailbox": "text"},
    clustering={"client": "uuid"},
    columns={"since": "bigint"},
)
"""mailbox: a digest of the address, since these rows stay when whose it was is erased; without a key, as projections
have none (SECURITY.md).
"""

DOMAINS = Table(
    projection="push_contacts",
    name="push_domains",
    partition={"realm": "text"},
    clustering={"domain": "text"},
    columns={"seen": "bigint"},
)

_FIRST = ("", *"123456789:", *"ABCDEFG", *"abcdefg")
VISITOR_BUCKETS = tuple(f"{number:02d}" for number in range(len(_FIRST)))


class PushContacts:
    """The projection."""

    name, version = "push_contacts", 2
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.client.>",)}
    tables = (PUSH_CONTACTS, VISITORS, MAILBOXES, DOMAINS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        event = fact.body
        if not isinstance(event, Client.Event):
            return
        domain = getattr(event, "app", "").casefold()
        values = _values(fact, event)
        if not domain or not values:
            return
        client = event.originator_id
        yield Put(PUSH_CONTACTS, _key(fact.realm, domain, client), values, fact.position)
        since = {"since": fact.position}
        if values.get("visitor"):
            visitor = values["visitor"]
            key: Key = (fact.realm, domain, visitor_bucket(visitor), visitor, client)
            yield Put(VISITORS, key, since, fact.position)
        if values.get("email"):
            key = (fact.realm, domain, _mailbox(values["email"]), client)
            yield Put(MAILBOXES, key, since, fact.position)
        if isinstance(event, Client.Enrolled | Client.Introduced):
            yield Put(DOMAINS, (fact.realm, domain), {"seen": fact.position}, fact.position)

    async def check(self, generation: Generation) -> list[str]:
        lost = await count(
            generation, PUSH_CONTACTS, lambda row: row["introduced"] is not None and row["alive"] is None
        )
        return [f"{lost} push contacts are neither there nor deleted"] if lost else []


def _values(fact: Recorded, event: Client.Event) -> dict[str, Any]:
    match event:
        case Client.Enrolled() | Client.Introduced():
            return {
                "device_token": event.device_token,
                "email": event.email,
                "visitor": event.visitor,
                "introduced": fact.position,
                "alive": True,
                "modified": fact.at,
            }
        case Client.EmailSet():
            return {"email": event.email, "modified": fact.at}
        case Client.VisitorSet(device_token=None):
            return {"visitor": event.visitor}
        case Client.VisitorSet():
            return {"visitor": event.visitor, "device_token": event.device_token, "email": event.email}
        case Client.AddressSet():
            return {"alive": True, "modified": fact.at}
        case Client.AddressRetired():
            return {"alive": False, "modified": fact.at}
        case Client.ContactLinked(contact=None):
            return {"device_token": None, "email": None, "visitor": None}
        case _:
            return {}


def visitor_bucket(visitor: str) -> str:
    return VISITOR_BUCKETS[bisect_right(_FIRST, visitor[:1]) - 1]


def _mailbox(email: str) -> str:
    return sha256(email.encode("utf-8", "surrogatepass")).hexdigest()


def _key(realm: str, domain: str, client: UUID) -> Key:
    return (realm, domain, partition(client), client)


def is_alive(row: Row | None) -> bool:
    return row is not None and row["introduced"] is not None and bool(row["alive"])


async def living(models: ReadModels, realm: str, domain: str) -> AsyncIterator[Row]:
    """All push contacts of a domain, deleted ones left out."""
    partitions = [(realm, domain, bucket) for bucket in BUCKETS]
    rows: AsyncGenerator[Row] = stream(models, PUSH_CONTACTS, partitions, cursor=None, chunk=CHUNK)
    async for row in rows:
        if is_alive(row):
            yield row


async def of_mailbox(models: ReadModels, realm: str, domain: str, email: str) -> AsyncIterator[Row]:
    """The push contacts that have this mail address now, deleted ones left out."""
    partition = (realm, domain, _mailbox(email))
    async for rows in pages(models, MAILBOXES, partition, chunk=CHUNK):
        for row in await _rows(models, realm, domain, _clients(rows)):
            if row["email"] == email and is_alive(row):
                yield row


async def has_visitor(models: ReadModels, realm: str, domain: str, visitor: str) -> bool:
    """Whether this visitor has a push contact now, deleted ones left out."""
    partition = (realm, domain, visitor_bucket(visitor))
    async for listed in pages(models, VISITORS, partition, after=(visitor, UUID(int=0)), chunk=CHUNK):
        own = [row["client"] for row in listed if row["visitor"] == visitor]
        rows = await _rows(models, realm, domain, own)
        if any(row["visitor"] == visitor and is_alive(row) for row in rows):
            return True
        if len(own) < len(listed):
            return False
    return False


async def visitors(
    models: ReadModels, realm: str, domain: str, *, after: str | None = None, passing: int = 0, limit: int
) -> list[Row]:
    """The next `limit` push contacts of visitors after a guid, in the guids' order; so many are passed over before."""
    found: list[Row] = []
    first = VISITOR_BUCKETS.index(visitor_bucket(after)) if after else 0
    for bucket in VISITOR_BUCKETS[first:]:
        cursor: Key | None = (after,) if after and bucket == VISITOR_BUCKETS[first] else None
        async for listed in pages(models, VISITORS, (realm, domain, bucket), after=cursor, chunk=CHUNK):
            rows = {row["client"]: row for row in await _rows(models, realm, domain, _clients(listed))}
            own = [
                each
                for each in listed
                if is_alive(rows.get(each["client"])) and rows[each["client"]]["visitor"] == each["visitor"]
            ]
            found += own[passing:]
            passing = max(passing - len(own), 0)
            if len(found) >= limit:
                return found[:limit]
    return found


async def domains(models: ReadModels, realm: str) -> list[str]:
    """Every domain that has, or had, a push contact, by name."""
    return [row["domain"] async for rows in pages(models, DOMAINS, (realm,), chunk=CHUNK) for row in rows]


async def quantities(models: ReadModels, realm: str, domain: str) -> tuple[int, int]:
    """(active, deleted) push contacts, counted by looking at each."""
    partitions = [(realm, domain, bucket) for bucket in BUCKETS]
    first = await models.range_many(_STATES, partitions, limit_each=CHUNK)
    states: Counter[bool] = Counter()
    for bucket, there in first.items():
        async for rows in pages_with(models, _STATES, bucket, there, limit=CHUNK, chunk=CHUNK):
            states.update(bool(row["alive"]) for row in rows if row["introduced"] is not None)
    return states[True], states[False]


def _clients(listed: Sequence[Row]) -> list[UUID]:
    return [row["client"] for row in listed]


async def _rows(models: ReadModels, realm: str, domain: str, clients: Sequence[UUID]) -> list[Row]:
    found = await models.get_many(PUSH_CONTACTS, [_key(realm, domain, client) for client in clients])
    return [row for row in found if row is not None]
