"""The suite contact updater's other half: that a contact uses an app, from devices' own events on SIGNALS.

For apps whose settings name a field for the last activity. A device tells of itself all the time, a suite wants to know
of the day: each client is passed on once an hour at most by each process, which forgets that when it ends.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from commands.port import EventStore
from domain.client import Client
from domain.contact import Contact
from domain.devices.signal import EFFECTS_KIND, EVENTS_KIND, DeviceEvents
from domain.recorded import SIGNALS
from processes.devices.suite_updates import ContactUpdate, ContactUpdates
from processes.directories import AppMetadata
from processes.port import Log, Task
from processes.worker import Post, work

ACTIVITY = Post(
    SIGNALS, "suite-activity", (f"signal.{EVENTS_KIND}.>", f"signal.{EFFECTS_KIND}.>"), in_flight=16
)
EVERY: Final = timedelta(hours=1)
CLIENTS_MAX: Final = 50_000
"""Clients remembered, some 200 bytes each; the one heard of least lately is forgotten, and passed on again."""


class SuiteActivity:
    """apps: asked for every signal, so from a memory where there is one."""

    def __init__(self, *, log: Log, store: EventStore, apps: AppMetadata, updates: ContactUpdates) -> None:
        self._log, self._store, self._apps, self._updates = log, store, apps, updates
        self._told: OrderedDict[UUID, datetime] = OrderedDict()

    async def run(self) -> None:
        await work(self._log, ACTIVITY, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, DeviceEvents) or not self._is_news(fact.body.client, fact.at):
            return
        app = await self._apps.app(fact.body.app)
        field = app.settings.contact_field_last_mobile_activity if app is not None else None
        if app is None or field is None or app.realm != fact.realm:
            return
        contact = await self._contact_of(fact.body.client)
        if contact is None or contact.contact_id is None or contact.erased:
            return
        update = ContactUpdate(
            merchant_id=app.realm,
            contact_id=contact.contact_id,
            application_code=app.code,
            fields={field: fact.at.isoformat(timespec="milliseconds")},
            stream=SIGNALS,
            position=fact.position,
            at=fact.at,
        )
        await self._updates.send(update, id=f"{SIGNALS}-{fact.position}-{contact.id.hex}")
        self._note(fact.body.client, fact.at)

    def _is_news(self, client: UUID, at: datetime) -> bool:
        told = self._told.get(client)
        return told is None or at - told >= EVERY

    def _note(self, client: UUID, at: datetime) -> None:
        self._told[client] = at
        self._told.move_to_end(client)
        while len(self._told) > CLIENTS_MAX:
            self._told.popitem(last=False)

    async def _contact_of(self, client: UUID) -> Contact | None:
        found = await self._store.load(Client, client)
        return await self._store.load(Contact, found.contact) if found and found.contact else None
