"""Notes a message's final totals once every delivery has reached its terminal state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from commands.bus import Bus
from commands.messaging import Settle
from domain.context import Context
from domain.deliveries.delivery import message_of_outcome
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from processes.models.watermark import Watermark
from processes.port import Log, Task
from processes.worker import Post, work
from projections import deliveries, messages
from projections.port import ReadModels

OUTCOMES = Post(DELIVERY, "settler-outcomes", ("outcome.>",), in_flight=256)
DISPATCHED = Post(
    EVENTS, "settler-messages", ("evt.message.>",), in_flight=64, topics=(Message.Dispatched.TOPIC,)
)

GATHER_S = 0.25
"""Outcomes of one message that arrive within this time are looked at together: large messages have many."""

STATES = ("accepted", "gone", "rejected", "suppressed", "expired", "left_out")


class Settler:
    """Looks at a message's totals when something of it has ended."""

    def __init__(
        self, *, log: Log, bus: Bus, models: ReadModels, watermark: Watermark, gather_s: float = GATHER_S
    ) -> None:
        self._log, self._bus, self._models, self._watermark = log, bus, models, watermark
        self._gather_s = gather_s
        self._waiting: dict[UUID, asyncio.Future[None]] = {}
        self._newest: dict[UUID, int] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(self._log, OUTCOMES, self.ended))
            group.create_task(work(self._log, DISPATCHED, self.dispatched))

    async def dispatched(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, Message.Dispatched):
            return
        if not fact.body.sends:
            await self._note(fact.realm, fact.body.originator_id, _of_sockets(fact.body), fact.correlation)
            return
        await self._watermark.passed(("messages",), EVENTS, fact.position)
        written = await self._log.end(DELIVERY)
        await self._watermark.passed(("deliveries",), DELIVERY, written)
        await self._settle(fact.realm, fact.body.originator_id, fact.correlation)

    async def ended(self, task: Task) -> None:
        """The first outcome of a message waits a little and looks; those that come meanwhile wait for it."""
        message = message_of_outcome(task.subject)
        if message in self._waiting:
            # Hot path: hundreds of results each, which nobody here asks for, are not even read.
            self._newest[message] = max(self._newest[message], task.position)
            await asyncio.shield(self._waiting[message])
            return
        fact = task.fact
        self._newest[message] = fact.position
        done = self._waiting[message] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.sleep(self._gather_s)
        finally:
            del self._waiting[message]
            newest = self._newest.pop(message)
        try:
            await self._watermark.passed(("deliveries",), DELIVERY, newest)
            await self._settle(fact.realm, message, fact.correlation)
        except BaseException:
            done.set_exception(TimeoutError("the look at the totals failed"))
            done.exception()
            raise
        done.set_result(None)

    async def _settle(self, realm: str, message: UUID, correlation: str) -> None:
        row = await messages.find(self._models, realm, message)
        if row is None or row["dispatched"] is None or row["settled"] is not None:
            return
        totals = await deliveries.totals(self._models, realm, message)
        if totals["sends"] != row["sends"] or totals["open"]:
            return
        await self._note(realm, message, totals, correlation)

    async def _note(self, realm: str, message: UUID, totals: Mapping[str, int], correlation: str) -> None:
        final = {state: totals[state] for state in STATES if totals.get(state)}
        context = Context(realm, "settler", "", correlation)
        await self._bus.execute(Settle(message=message, totals=final), context)


def _of_sockets(dispatched: Message.Dispatched) -> Mapping[str, int]:
    """The totals of a message that nothing is sent of: whoever was not left out is shown it, and that was all.

    Hot path: it need not wait for the read models to count what the event says.
    """
    return {
        "accepted": dispatched.contacts - dispatched.suppressed,
        "left_out": dispatched.suppressed,
    }
