"""The roles an exchange is made of, each as something the supervisor can run and drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cli.bootstrap import Exchange
from cli.session import now
from cli.stores import fed_generations
from domain.recorded import DELIVERY, EVENTS
from infra.draining import draining
from infra.readstore.store import ReadStore
from infra.supervisor import Role, Stop, wait_set
from processes.channel import ChannelProcess
from processes.dispatcher import Dispatcher
from processes.erasure import Erasure
from processes.feedback import Feedback, Retrier
from processes.port import Log
from processes.projector import Projector
from processes.rebuild import Takeover
from processes.scheduler import DueMessages, Scheduler
from processes.settler import Settler
from projections.port import Projection

PROJECTED = (EVENTS, DELIVERY)
"""Streams that read models are made from."""

OFFER_LOOK_S = 1.0

Made = Callable[[Log], Callable[[], Awaitable[None]]]
"""Given the log, which ends its work at the stop: the `run` of a process made on it."""


def role(name: str, exchange: Exchange, make: Made) -> Role:
    """A process that works on the log, made anew each time it starts."""

    async def run(stop: Stop) -> None:
        await make(draining(exchange.log, stop))()

    return Role(name, run)


def directory(exchange: Exchange) -> Role:
    """Threads' rights from memory: for every process that takes publishes."""

    async def run(_stop: Stop) -> None:
        await exchange.threads.run()

    return Role("directory", run, drain_s=0.0)


def projecting(exchange: Exchange) -> Role:
    """All projectors, and the takeover of generations that a rebuild offers; one role, as they share what is live."""
    store = exchange.store

    async def run(stop: Stop) -> None:
        while not stop.is_set():
            generations, outdated = await fed_generations(store)
            until = Stop()
            log = draining(exchange.log, until)
            projectors = [Projector(log, stream, generations, exchange.watermark) for stream in PROJECTED]
            takeover = Takeover(
                store=store,
                projectors=projectors,
                projections=[projection for projection, _ in generations],
                generations={projection.name: generation for projection, generation in generations},
            )
            async with asyncio.TaskGroup() as group:
                helping = (
                    group.create_task(takeover.run()),
                    group.create_task(_end_at_offer(store, outdated, stop, until)),
                )
                await asyncio.wait([group.create_task(projector.run()) for projector in projectors])
                for task in helping:
                    task.cancel()

    return Role("project", run)


async def _end_at_offer(store: ReadStore, outdated: Sequence[Projection], stop: Stop, until: Stop) -> None:
    """Set `until` at the stop, or when a rebuild offers one of the generations that could not be fed."""
    while not await wait_set(stop, OFFER_LOOK_S):
        offers = [await store.offered(projection.name) for projection in outdated]
        if any(offer is not None for offer in offers):
            break
    until.set()


def dispatching(exchange: Exchange) -> list[Role]:
    """Everything between an accepted message and the gateways, and back."""
    e = exchange
    models, keys = e.store, e.log.keys
    made: dict[str, Made] = {
        "dispatcher": lambda log: (
            Dispatcher(
                log=log,
                store=e.log.events,
                keys=keys,
                bus=e.bus,
                models=models,
                watermark=e.watermark,
                ids=e.ids,
                clock=now,
            ).run
        ),
        "scheduler": lambda log: Scheduler(log=log).run,
        "due-messages": lambda log: DueMessages(log=log, bus=e.bus).run,
        "settler": lambda log: Settler(log=log, bus=e.bus, models=models, watermark=e.watermark).run,
        "erasure": lambda log: (
            Erasure(log=log, bus=e.bus, keys=keys, models=models, watermark=e.watermark).run
        ),
        "feedback": lambda log: Feedback(log=log, bus=e.bus, clock=now).run,
        "retrier": lambda log: Retrier(log=log, keys=keys, models=models, clock=now).run,
    }
    return [role(name, exchange, make) for name, make in made.items()]


def gateway(exchange: Exchange, channel: str) -> Role:
    return role(
        f"gateway-{channel}",
        exchange,
        lambda log: (
            ChannelProcess(
                log=log,
                keys=exchange.log.keys,
                gateway=exchange.gateways[channel],
                name=exchange.name,
                clock=now,
            ).run
        ),
    )


def gateways(exchange: Exchange) -> Sequence[Role]:
    return [gateway(exchange, channel) for channel in exchange.gateways]
