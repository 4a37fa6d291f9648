"""The API's ports over the log: events by position, rights as they change, receipts in.

Glue alone: it holds nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from domain.deliveries.delivery import Receipt
from domain.recorded import DELIVERY, EVENTS, Checkpoint, Recorded
from infra.eventstore.catalogue import domain_catalogue
from infra.log.facts import FactReader
from infra.log.log import JetStreamLog
from processes.port import Append, Log

RIGHTS = ("evt.thread.>", "evt.subscription.>", "evt.contact.>")
"""What decides who may read and write."""


class EventsByPosition:
    """api.port.EventReader."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self._facts = FactReader(domain_catalogue(), log.keys)

    async def epoch(self) -> str:
        return await self._log.epoch(EVENTS)

    async def end(self) -> int:
        return await self._log.end(EVENTS)

    async def after(self, position: int, limit: int) -> list[Recorded]:
        facts: list[Recorded] = []
        while not facts:
            found = await self._log.js.read(EVENTS, "evt.>", seq=position + 1, limit=limit)
            if not found:
                break
            # What cannot be read is passed over: a page of nothing else must not look like the end of the log.
            facts = [each for each in await self._facts.read(EVENTS, found) if isinstance(each, Recorded)]
            position = found[-1].sequence
        return facts


class RightsFromLog:
    """api.port.RightsWatch."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def follow(self) -> AsyncIterator[Sequence[Recorded]]:
        start = Checkpoint(EVENTS, await self._log.end(EVENTS), await self._log.epoch(EVENTS))
        yield ()
        async for facts in self._log.follow(EVENTS, start, subjects=RIGHTS):
            yield [fact for fact in facts if isinstance(fact, Recorded)]


class ReceiptsToLog:
    """api.port.ReceiptSink. A receipt that comes again is another record and changes no state."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def take(self, receipt: Receipt) -> None:
        subject = f"receipt.{receipt.channel}.{receipt.message.hex}"
        await self._log.append(Append(subject, receipt))

    async def end(self) -> int:
        return await self._log.end(DELIVERY)
