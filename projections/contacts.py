"""Contacts: who is in the realm. Also the audience of a broadcast, in buckets that stay small."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any
from uuid import UUID

from domain.contact import Contact
from domain.ids import PARTITIONS, partition
from domain.recorded import EVENTS, Recorded
from projections.checks import count, narrow
from projections.paging import cursor_after, stream
from projections.port import Delete, Generation, Key, Put, ReadModels, Row, Table, Write

BUCKETS = tuple(f"{number:02x}" for number in range(PARTITIONS))

CONTACTS = Table(
    projection="contacts",
    name="contacts",
    partition={"realm": "text", "bucket": "text"},
    clustering={"contact": "uuid"},
    columns={
        "uid": "text",
        "created_at": "bigint",
        "created": "timestamp",
        "email": "text",
        "cell": "text",
        "locale": "text",
        "time_zone": "text",
        "channels": "json",
        "updated": "timestamp",
    },
)
"""created_at: position of the first event. An erased contact's row is gone."""


class Contacts:
    """The projection."""

    name, version = "contacts", 1
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.contact.>",)}
    tables = (CONTACTS,)

    def project(self, fact: Recorded) -> Iterable[Write]:
        event = fact.body
        if not isinstance(event, Contact.Event):
            return
        key = contact_key(fact.realm, event.originator_id)
        match event:
            case Contact.Created():
                yield Put(
                    CONTACTS,
                    key,
                    {
                        "uid": event.uid,
                        "created_at": fact.position,
                        "created": fact.at,
                        "updated": fact.at,
                    },
                    fact.position,
                )
            case Contact.Erased():
                yield Delete(CONTACTS, key, fact.position)
            case _:
                values = _changed(event)
                if values:
                    yield Put(CONTACTS, key, {**values, "updated": fact.at}, fact.position)

    async def check(self, generation: Generation) -> list[str]:
        nameless = await count(generation, narrow(CONTACTS, "uid"), lambda row: row["uid"] is None)
        return [f"{nameless} contacts have no uid"] if nameless else []


def _changed(event: Contact.Event) -> dict[str, Any]:
    match event:
        case Contact.AddressSet(channel=channel) if channel in COLUMN_OF:
            return {COLUMN_OF[channel]: event.address or None}
        case Contact.AddressRetired(channel=channel) if channel in COLUMN_OF:
            return {COLUMN_OF[channel]: None}
        case Contact.PreferencesSet():
            return {
                "channels": event.channels,
                "locale": event.locale,
                "time_zone": event.time_zone,
            }
        case _:
            return {}


COLUMN_OF = {"email": "email", "sms": "cell"}
"""Where the contact's own addresses are shown."""


def contact_key(realm: str, contact: UUID) -> tuple[str, str, UUID]:
    return (realm, partition(contact), contact)


async def find(models: ReadModels, realm: str, contact: UUID) -> Row | None:
    return await models.get(CONTACTS, contact_key(realm, contact))


async def uids(models: ReadModels, realm: str, contacts: Sequence[UUID]) -> dict[UUID, str]:
    """The uids of those that are known and not erased."""
    keys = [contact_key(realm, contact) for contact in dict.fromkeys(contacts)]
    rows = await models.get_many(CONTACTS, keys)
    return {row["contact"]: row["uid"] for row in rows if row is not None}


def everyone(models: ReadModels, realm: str, *, cursor: str | None, chunk: int) -> AsyncGenerator[Row]:
    """Every contact, in a fixed order."""
    return stream(models, CONTACTS, _partitions(realm), cursor=cursor, chunk=chunk)


def cursor_of(row: Row) -> str:
    """Where `everyone` goes on after a row."""
    return cursor_after(CONTACTS, _partitions(row["realm"]), row)


def existed(row: Row, as_of: int) -> bool:
    return row["created_at"] is not None and row["created_at"] <= as_of


def _partitions(realm: str) -> list[Key]:
    return [(realm, bucket) for bucket in BUCKETS]
