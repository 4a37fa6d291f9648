"""Contacts' numbers as the log has them, on contacts and on clients: for who looks whether all agree and none is open.

Nothing is decided on these rows: what they show to be amiss is mended by commands, which look at the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from domain.client import Client
from domain.contact import Contact
from domain.ids import partition
from domain.people.resolution import anonymous_client
from domain.recorded import EVENTS, Recorded
from projections.checks import count, narrow
from projections.port import Generation, Key, Put, Table, Write

CONTACT_NUMBERS = Table(
    projection="numbers",
    name="contact_numbers",
    partition={"realm": "text", "bucket": "text"},
    clustering={"contact": "uuid"},
    columns={
        "asked": "bigint",
        "asked_at": "timestamp",
        "answered": "bigint",
        "contact_id": "bigint",
        "erased": "boolean",
    },
)
"""asked: position of the newest change that wants a number; answered: of the one that the number was found for."""

CLIENT_NUMBERS = Table(
    projection="numbers",
    name="client_numbers",
    partition={"realm": "text", "bucket": "text"},
    clustering={"client": "uuid"},
    columns={"contact": "uuid", "linked_at": "timestamp", "answered": "bigint", "contact_id": "bigint"},
)
"""Clients that ever had a contact."""


class Numbers:
    """The projection."""

    name, version = "numbers", 1
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.contact.>", "evt.client.>")}
    tables = (CONTACT_NUMBERS, CLIENT_NUMBERS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Contact.Event() as event:
                yield from _of_contact(fact, event)
            case Client.Event() as event:
                yield from _of_client(fact, event)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        answers = narrow(CONTACT_NUMBERS, "answered", "contact_id")
        odd = await count(
            generation, answers, lambda row: (row["answered"] is None) != (row["contact_id"] is None)
        )
        return [f"{odd} contacts have a number for no change, or none for one"] if odd else []


def _of_contact(fact: Recorded, event: Contact.Event) -> Iterable[Write]:
    key = contact_key(fact.realm, event.originator_id)
    match event:
        case Contact.Identified():
            yield Put(CONTACT_NUMBERS, key, {"asked": fact.position, "asked_at": fact.at}, fact.position)
        case Contact.Created() if anonymous_client(event.uid) is not None:
            yield Put(CONTACT_NUMBERS, key, {"asked": fact.position, "asked_at": fact.at}, fact.position)
        case Contact.Resolved():
            values = {"answered": event.of, "contact_id": event.contact_id}
            yield Put(CONTACT_NUMBERS, key, values, fact.position)
        case Contact.Erased():
            gone = {"asked": None, "asked_at": None, "answered": None, "contact_id": None}
            yield Put(CONTACT_NUMBERS, key, {**gone, "erased": True}, fact.position)
        case _:
            return


def _of_client(fact: Recorded, event: Client.Event) -> Iterable[Write]:
    key = (fact.realm, partition(event.originator_id), event.originator_id)
    match event:
        case Client.Registered(contact=None):
            return
        case Client.Registered() | Client.ContactLinked():
            linked = {"contact": event.contact, "linked_at": fact.at, "answered": None, "contact_id": None}
            yield Put(CLIENT_NUMBERS, key, linked, fact.position)
        case Client.ContactResolved():
            values = {"answered": event.of, "contact_id": event.contact_id}
            yield Put(CLIENT_NUMBERS, key, values, fact.position)
        case _:
            return


def contact_key(realm: str, contact: UUID) -> Key:
    return (realm, partition(contact), contact)
