"""The suite contact updater: what apps are to tell a suite of their contacts, from clients' events to its queue.

For apps whose settings name a contact field for it. A fact is done with once the broker has confirmed its updates; an
update may come twice, and out of order: it carries the position of its fact, and the one with the highest says how
things are. That a device is in use comes from SIGNALS, too (suite_activity).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.port import EventStore
from domain.app import AppFacts
from domain.client import CLEARED, Client
from domain.contact import Contact
from domain.people.suite import FieldValue, accepts_push, suite_fields
from domain.recorded import EVENTS, Recorded
from processes.devices.contact_ids import BEHIND_S_MAX
from processes.directories import AppMetadata
from processes.models.watermark import Watermark
from processes.port import Log, Task
from processes.worker import Post, work
from projections import clients
from projections.port import ReadModels, Row

CLIENTS = Post(
    EVENTS,
    "suite-updater",
    ("evt.client.>",),
    in_flight=16,
    topics=(
        Client.Registered.TOPIC,
        Client.Enrolled.TOPIC,
        Client.PropertiesChanged.TOPIC,
        Client.AddressSet.TOPIC,
        Client.AddressRetired.TOPIC,
        Client.ContactLinked.TOPIC,
        Client.ContactResolved.TOPIC,
    ),
)


class ContactUpdate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the queue gets, as JSON. fields: values by the contact field's number.

    stream, position: of the fact behind it. Of two flags the higher position's counts, of two times the later.
    """

    merchant_id: str
    contact_id: int
    application_code: str
    fields: dict[int, FieldValue]
    stream: str = EVENTS
    position: int
    at: datetime


class ContactUpdates(Protocol):
    """The suite's queue."""

    async def send(self, update: ContactUpdate, *, id: str) -> None:
        """Return once the broker has confirmed that it keeps the update.

        id: the same for the same update, so that the other end can tell a repeat. Raises Unavailable; whether the
        broker has it is not known then.
        """
        ...


class SuiteUpdater:
    """apps: asked for every fact, so from a memory where there is one."""

    def __init__(
        self,
        *,
        log: Log,
        store: EventStore,
        apps: AppMetadata,
        models: ReadModels,
        watermark: Watermark,
        updates: ContactUpdates,
    ) -> None:
        self._log, self._store, self._apps = log, store, apps
        self._models, self._watermark, self._updates = models, watermark, updates

    async def run(self) -> None:
        await work(self._log, CLIENTS, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        event = fact.body
        if not isinstance(event, Client.Event):
            return
        client = await self._store.load(Client, event.originator_id, fresh=True)
        if client is None:
            raise ValueError("a fact of a client that is not there")
        app = await self._apps.app(client.app)
        if app is None or app.realm != fact.realm or not app.settings.updates_suite:
            return
        await self._watermark.passed(("clients",), EVENTS, fact.position, timeout_s=BEHIND_S_MAX)
        for number, contacts in (await self._numbered(_concerned(event, client))).items():
            active_at = _active_at(event) if client.contact in contacts else None
            await self._tell(app, fact, number, contacts, active_at=active_at)

    async def _numbered(self, contacts: Sequence[UUID]) -> dict[int, list[UUID]]:
        """By their number: who changes from one contact field to another may be the same person to the suite."""
        numbered: dict[int, list[UUID]] = {}
        for contact in contacts:
            found = await self._store.load(Contact, contact, fresh=True)
            # That a contact gets its number is news of its own, for each of its clients.
            if found is not None and found.contact_id is not None and not found.erased:
                numbered.setdefault(found.contact_id, []).append(contact)
        return numbered

    async def _tell(
        self, app: AppFacts, fact: Recorded, number: int, contacts: list[UUID], *, active_at: datetime | None
    ) -> None:
        fields = suite_fields(app.settings, await self._accepting(app, contacts), active_at)
        if not fields:
            return
        update = ContactUpdate(
            merchant_id=app.realm,
            contact_id=number,
            application_code=app.code,
            fields=fields,
            position=fact.position,
            at=fact.at,
        )
        await self._updates.send(update, id=f"{EVENTS}-{fact.position}-{contacts[-1].hex}")

    async def _accepting(self, app: AppFacts, contacts: Sequence[UUID]) -> list[bool]:
        """Of the contacts' devices with the app, whether each accepts pushes; up to the first that does, since no other
        changes what is told then. However many they have: a name that all tills of a shop sign in with, too.
        """
        found = list[bool]()
        for contact in contacts:
            async with aclosing(clients.all_of_contact(self._models, app.realm, contact)) as rows:
                async for row in rows:
                    if row["app"].casefold() == app.code.casefold():
                        found.append(_accepts(row))
                        if found[-1]:
                            return found
        return found


def _accepts(row: Row) -> bool:
    return accepts_push(has_address=row["token"] is not None, properties=row["properties"] or {})


def _concerned(event: Client.Event, client: Client) -> Sequence[UUID]:
    """Who has the client, and who had it until this event."""
    previous = event.previous if isinstance(event, Client.ContactLinked) else None
    return [contact for contact in (previous, client.contact) if contact is not None]


def _active_at(event: Client.Event) -> datetime | None:
    """When the device did something: that a provider or another device ended its address is none of its doing."""
    if isinstance(event, Client.AddressRetired) and event.code != CLEARED:
        return None
    return event.timestamp
