"""Sums of blocks over a real log: whole wherever the projector starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from domain.deliveries.delivery import Receipt
from domain.recorded import DELIVERY, Recorded
from infra.log.log import JetStreamLog, utc_now
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from processes.port import Append
from projections.port import Put, Write
from tests.fixtures.nats import MASTER_KEY, log_config, wipe
from tests.memory.ports.read_models import MemoryReadModels
from tests.unit.processes.test_blocks import NOTES, SIZE, Noted, expected, sums

FACTS = 30


class Receipts(Noted):
    """Notes the position of every receipt."""

    streams, blocks_of = (DELIVERY,), DELIVERY

    def project(self, fact: Recorded) -> Iterable[Write]:
        if isinstance(fact.body, Receipt):
            yield Put(NOTES, ("main", fact.position), {"is": fact.position}, fact.position)


async def receive(log: JetStreamLog, count: int) -> None:
    for _ in range(count):
        message = uuid4()
        click = Receipt("main", message, "webpush", None, UUID(int=1), "clicked", utc_now())
        await log.append(Append(f"receipt.webpush.{message.hex}", click))


async def project(log: JetStreamLog, models: MemoryReadModels, until: int) -> None:
    projection: Any = Receipts()
    given = [(projection, models.generation(projection.name))]
    async with asyncio.timeout(10):
        await Projector(log, DELIVERY, given, Watermark(models, local=True)).run(until=until)


async def test_a_projector_that_starts_anew_has_what_came_before(nats_server: NatsServer) -> None:
    """It reads the beginning of its block from the stream, whatever its place in it."""
    await wipe(nats_server)
    models = MemoryReadModels()
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as log:
        await receive(log, FACTS)
        for stop in (1, SIZE - 1, SIZE, SIZE + 2, 3 * SIZE - 2, FACTS):
            await project(log, models, stop)
    assert await sums(models) == expected(FACTS)
