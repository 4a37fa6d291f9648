"""Push tokens that went to another client: whoever had the same one before loses it by an event of their own.

The read models send to nobody but the newest, from its event on (projections/reach.py). Here it becomes a fact of the
others, of which their devices, the suite and other systems are told. What a client has set after the taking stays its
own, however late or often the taking is dealt with.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from commands.bus import Bus
from commands.clients import LoseAddress
from domain.client import Client
from domain.context import Context
from domain.recorded import EVENTS
from processes.models.watermark import Watermark
from processes.port import Log, Task
from processes.worker import Post, work
from projections import reach
from projections.port import ReadModels

TAKEN = Post(
    EVENTS,
    "taken-tokens",
    ("evt.client.>",),
    in_flight=16,
    topics=(Client.Registered.TOPIC, Client.Enrolled.TOPIC, Client.AddressSet.TOPIC),
)

BEHIND_S_MAX: Final = 3.0
"""How long a fact waits for the read models, as for contacts' numbers (contact_ids)."""


class TakenTokens:
    def __init__(self, *, log: Log, bus: Bus, models: ReadModels, watermark: Watermark) -> None:
        self._log, self._bus, self._models, self._watermark = log, bus, models, watermark

    async def run(self) -> None:
        await work(self._log, TAKEN, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        token = reach.token_set(fact.body) if isinstance(fact.body, Client.Event) else None
        if token is None or not isinstance(fact.body, Client.Event):
            return
        # Claims from before this one are there then; of newer ones, which may be there too, none is asked for.
        await self._watermark.passed(("reach",), EVENTS, fact.position, timeout_s=BEHIND_S_MAX)
        context = Context(fact.realm, TAKEN.durable, f"{EVENTS}:{fact.position}", fact.correlation)
        had = reach.had_before(self._models, fact.realm, token, fact.position, fact.body.originator_id)
        async with aclosing(had) as claims:
            async for claim in claims:
                command = LoseAddress(client=claim["client"], token=token, version=claim["version"])
                await self._bus.execute(command, context)
