"""The projecting role: projectors of all streams, and the takeover of generations that a rebuild offers. One role, as
they share what is live, and one gate, so that a command can hold all of it still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cli.bootstrap import Exchange
from cli.wiring.stores import fed_generations
from infra.draining import draining
from infra.pausing import Gate, gated, obeying
from infra.readstore.store import ReadStore
from infra.supervisor import Role, Stop, wait_set
from processes.models.projector import CHECKPOINT_EVERY_S, CHECKPOINT_EVERY_S_ALONE, Projector
from processes.models.rebuild import Takeover
from projections.catalogue import ALL
from projections.port import Projection

PROJECTED = tuple(dict.fromkeys(stream for projection in ALL for stream in projection.streams))
"""Streams that read models are made from."""

OFFER_LOOK_S = 1.0


def projecting(exchange: Exchange, *, alone: bool = False) -> Role:
    """alone: all that waits for the read models is in this process."""
    every_s = CHECKPOINT_EVERY_S_ALONE if alone else CHECKPOINT_EVERY_S

    async def run(stop: Stop) -> None:
        gate = Gate()
        async with obeying(exchange.log.js.connection, gate):
            while not stop.is_set():
                await _project(exchange, gate, stop, every_s)

    return Role("project", run)


async def _project(exchange: Exchange, gate: Gate, stop: Stop, every_s: float) -> None:
    """Until the stop, or until a generation is offered that could not be fed so far."""
    generations, outdated = await fed_generations(exchange.store)
    until = Stop()
    log = draining(gated(exchange.log, gate), until)
    projectors = [
        Projector(log, stream, generations, exchange.watermark, checkpoint_every_s=every_s)
        for stream in PROJECTED
    ]
    takeover = Takeover(
        store=exchange.store,
        projectors=projectors,
        projections=[projection for projection, _ in generations],
        generations={projection.name: generation for projection, generation in generations},
    )
    async with asyncio.TaskGroup() as group:
        helping = (
            group.create_task(takeover.run()),
            group.create_task(_end_at_offer(exchange.store, outdated, stop, until)),
        )
        await asyncio.wait([group.create_task(projector.run()) for projector in projectors])
        for task in helping:
            task.cancel()


async def _end_at_offer(store: ReadStore, outdated: Sequence[Projection], stop: Stop, until: Stop) -> None:
    while not await wait_set(stop, OFFER_LOOK_S):
        offers = [await store.offered(projection.name) for projection in outdated]
        if any(offer is not None for offer in offers):
            break
    until.set()
