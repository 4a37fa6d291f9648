"""Contacts' numbers on their clients: the contact-id writer and the clients maintainer.

The writer follows contacts that got a number, and writes it to every client that is theirs then. The maintainer
follows clients that changed hands, and mends what does not agree with their contact. A link that came before the number
is seen by the writer, one that came after it by the maintainer, whose look at the contact is newer than the link: so no
client is missed. Both only call commands, which change nothing the second time.
"""

from __future__ import annotations

from typing import Final

from commands.bus import Bus
from commands.resolution import MendClient
from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.recorded import EVENTS
from processes.models.watermark import Watermark
from processes.port import Log, Task
from processes.worker import Post, work
from projections import clients
from projections.port import ReadModels

RESOLVED = Post(
    EVENTS, "contact-id-writer", ("evt.contact.>",), in_flight=16, topics=(Contact.Resolved.TOPIC,)
)
LINKED = Post(
    EVENTS,
    "clients-maintainer",
    ("evt.client.>",),
    in_flight=16,
    topics=(Client.Registered.TOPIC, Client.Enrolled.TOPIC, Client.ContactLinked.TOPIC),
)

BEHIND_S_MAX: Final = 3.0
"""How long a fact waits for the read models; then it is given back, so that a stop is not held up by a projector that
has stopped before.
"""


class ContactIdWriter:
    def __init__(self, *, log: Log, bus: Bus, models: ReadModels, watermark: Watermark) -> None:
        self._log, self._bus, self._models, self._watermark = log, bus, models, watermark

    async def run(self) -> None:
        await work(self._log, RESOLVED, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, Contact.Resolved):
            return
        await self._watermark.passed(("clients",), EVENTS, fact.position, timeout_s=BEHIND_S_MAX)
        context = Context(fact.realm, RESOLVED.durable, f"{EVENTS}:{fact.position}", fact.correlation)
        async for row in clients.all_of_contact(self._models, fact.realm, fact.body.originator_id):
            await self._bus.execute(MendClient(client=row["client"]), context)


class ClientsMaintainer:
    def __init__(self, *, log: Log, bus: Bus) -> None:
        self._log, self._bus = log, bus

    async def run(self) -> None:
        await work(self._log, LINKED, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        match fact.body:
            case Client.Registered(contact=contact) | Client.ContactLinked(contact=contact) if contact:
                context = Context(fact.realm, LINKED.durable, f"{EVENTS}:{fact.position}", fact.correlation)
                await self._bus.execute(MendClient(client=fact.body.originator_id), context)
            case _:
                return
