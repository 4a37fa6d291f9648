"""Client state: one row per application instance, and each contact's clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any
from uuid import UUID

from domain.client import Client
from domain.recorded import EVENTS, Recorded
from projections.checks import count, narrow
from projections.paging import pages
from projections.port import Generation, Put, ReadModels, Row, Table, Write

CLIENTS = Table(
    projection="clients",
    name="clients",
    partition={"realm": "text", "client": "uuid"},
    columns={
        "app": "text",
        "client_id": "text",
        "contact": "uuid",
        "uid": "text",
        "channel": "text",
        "token": "uuid",
        "quarantined": "text",
        "retired": "text",
        "properties": "json",
        "registered": "timestamp",
        "updated": "timestamp",
    },
)
"""token: set while the client has a push address. retired: why it has none any more."""

CONTACT_CLIENTS = Table(
    projection="clients",
    name="contact_clients",
    partition={"realm": "text", "contact": "uuid"},
    clustering={"client": "uuid"},
    columns={"linked": "boolean", "since": "timestamp"},
)

CLIENTS_MAX = 500
"""Links that one look takes, and clients that are listed of one contact."""


class Clients:
    """The projection."""

    name, version = "clients", 2
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.client.>",)}
    tables = (CLIENTS, CONTACT_CLIENTS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        event = fact.body
        if not isinstance(event, Client.Event):
            return
        values = _values(event)
        yield Put(
            CLIENTS,
            (fact.realm, event.originator_id),
            {**values, "updated": fact.at},
            fact.position,
        )
        match event:
            case Client.Registered(contact=contact) if contact is not None:
                yield _link(fact, contact, event.originator_id, linked=True)
            case Client.ContactLinked():
                if event.previous is not None:
                    yield _link(fact, event.previous, event.originator_id, linked=False)
                if event.contact is not None:
                    yield _link(fact, event.contact, event.originator_id, linked=True)
            case _:
                return

    async def check(self, generation: Generation) -> list[str]:
        homeless = await count(generation, narrow(CLIENTS, "app"), lambda row: row["app"] is None)
        return [f"{homeless} clients belong to no app"] if homeless else []


def _values(event: Client.Event) -> dict[str, Any]:
    match event:
        case Client.Registered():
            return {
                "app": event.app,
                "client_id": event.client_id,
                "contact": event.contact,
                "uid": event.uid,
                "channel": event.channel,
                "token": event.token,
                "properties": event.properties,
                "registered": event.timestamp,
            }
        case Client.PropertiesChanged():
            return {"properties": event.properties}
        case Client.AddressSet():
            return {
                "channel": event.channel,
                "token": event.token,
                "retired": None,
                "quarantined": None,
            }
        case Client.AddressRenewed():
            return {"quarantined": None}
        case Client.AddressRetired():
            return {"token": None, "retired": event.code, "quarantined": None}
        case Client.AddressQuarantined():
            return {"quarantined": event.code}
        case Client.ContactLinked():
            return {"contact": event.contact, "uid": event.uid}
        case Client.Introduced():
            return {"app": event.app}
        case (
            Client.ContactResolved()
            | Client.RefreshOpened()
            | Client.Moved()
            | Client.EmailSet()
            | Client.VisitorSet()
        ):
            return {}
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")


def _link(fact: Recorded, contact: UUID, client: UUID, *, linked: bool) -> Put:
    values = {"linked": linked, "since": fact.at}
    return Put(CONTACT_CLIENTS, (fact.realm, contact, client), values, fact.position)


async def find(models: ReadModels, realm: str, client: UUID) -> Row | None:
    return await models.get(CLIENTS, (realm, client))


async def of_contact(models: ReadModels, realm: str, contact: UUID) -> list[Row]:
    """The clients that belong to a contact now, by id; the first CLIENTS_MAX of them."""
    found: list[Row] = []
    async with aclosing(all_of_contact(models, realm, contact)) as rows:
        async for row in rows:
            found.append(row)
            if len(found) == CLIENTS_MAX:
                break
    return found


async def all_of_contact(models: ReadModels, realm: str, contact: UUID) -> AsyncGenerator[Row]:
    """The same without an end: for what must leave none out. Links that have ended are among those looked at."""
    async for links in pages(models, CONTACT_CLIENTS, (realm, contact), chunk=CLIENTS_MAX):
        keys = [(realm, link["client"]) for link in links if link["linked"]]
        for row in await models.get_many(CLIENTS, keys) if keys else ():
            if row is not None:
                yield row
