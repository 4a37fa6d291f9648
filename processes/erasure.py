"""Carries an erasure through: the contact's key is destroyed for good, then its devices and memberships end.

In this order, since without the key nothing more can be stored for the contact: what was decided just before the
erasure and written just after it is found among the devices, too. A membership, which no key seals, may be written even
later: who began it ends it then (`commands.threads`).
"""

from __future__ import annotations

from commands.bus import Bus
from commands.clients import Unlink
from commands.contacts import EndSubscription
from commands.port import KeyStore
from domain.contact import Contact
from domain.context import Context
from domain.recorded import EVENTS
from processes.models.watermark import Watermark
from processes.port import Log, Task
from processes.worker import Post, work
from projections import clients, threads
from projections.port import ReadModels

POST = Post(EVENTS, "erasure", ("evt.contact.>",), in_flight=4, topics=(Contact.Erased.TOPIC,))


class Erasure:
    def __init__(
        self, *, log: Log, bus: Bus, keys: KeyStore, models: ReadModels, watermark: Watermark
    ) -> None:
        self._log, self._bus, self._keys = log, bus, keys
        self._models, self._watermark = models, watermark

    async def run(self) -> None:
        await work(self._log, POST, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, Contact.Erased):
            return
        contact = fact.body.originator_id
        await self._keys.destroy(f"contact.{contact.hex}")
        await self._watermark.passed(("clients", "threads"), EVENTS, await self._log.end(EVENTS))
        context = Context(fact.realm, "erasure", f"{EVENTS}:{fact.position}", fact.correlation)
        async for row in clients.all_of_contact(self._models, fact.realm, contact):
            await self._bus.execute(Unlink(client=row["client"], contact=contact), context)
        async for row in threads.all_of_contact(self._models, fact.realm, contact):
            command = EndSubscription(thread=row["thread"], contact=contact)
            await self._bus.execute(command, context)
