"""The roles an exchange is made of, each as something the supervisor can run and drain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cli.bootstrap import Exchange
from cli.session import now
from infra.draining import draining
from infra.nats.leases import Lease
from infra.supervisor import Role, Stop
from infra.visitors import VisitorsByHttp
from processes.daykeys import DayKeys
from processes.devices.visitors import Visitors
from processes.dispatching.dispatcher import Dispatcher
from processes.dispatching.scheduler import DueMessages, OverdueMessages, Scheduler
from processes.dispatching.settler import Settler
from processes.erasure import Erasure
from processes.feeding.feeder import Feeder
from processes.port import Log
from processes.sending.channel import ChannelProcess
from processes.sending.feedback import Feedback, Retrier

FEEDER = "feeder"

Made = Callable[[Log], Callable[[], Awaitable[None]]]
"""Given the log, which ends its work at the stop: the `run` of a process made on it."""


def role(name: str, exchange: Exchange, make: Made) -> Role:
    """A process that works on the log, made anew each time it starts."""

    async def run(stop: Stop) -> None:
        await make(draining(exchange.log, stop))()

    return Role(name, run)


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
    return [
        *(role(name, exchange, make) for name, make in made.items()),
        _feeder(exchange),
        _day_keys(exchange),
        _overdue(exchange),
        *visitors(exchange),
    ]


def visitors(exchange: Exchange) -> list[Role]:
    """Telling a site's own system of its visitors, where one is configured."""
    settings = exchange.session.settings.doppler
    if not settings.visitors_url or settings.visitors_token is None:
        return []
    register = VisitorsByHttp(settings.visitors_url, settings.visitors_token.reveal())
    return [role("visitors", exchange, lambda log: Visitors(log=log, register=register).run)]


def _feeder(exchange: Exchange) -> Role:
    """Of all processes that run it, one at a time has the lease to."""
    e = exchange

    async def run(stop: Stop) -> None:
        await Feeder(
            log=draining(e.log, stop),
            feed=e.log.feed,
            lease=Lease(e.log.js, FEEDER, stop),
            store=e.log.events,
            ids=e.ids,
            clock=now,
            feeding=e.feeding,
        ).run()

    return Role(FEEDER, run)


def following_apps(exchange: Exchange) -> Role:
    """For every process that asks for apps: what it remembers of them stays true."""

    async def run(_stop: Stop) -> None:
        await exchange.apps.run()

    return Role("apps", run, drain_s=0.0)


def _day_keys(exchange: Exchange) -> Role:
    """It takes nothing from the log, and can be cut short at any point."""

    async def run(_stop: Stop) -> None:
        await DayKeys(keys=exchange.log.keys, clock=now).run()

    return Role("day-keys", run, drain_s=0.0)


def _overdue(exchange: Exchange) -> Role:
    """It takes nothing from the log, either."""

    async def run(_stop: Stop) -> None:
        await OverdueMessages(bus=exchange.bus, models=exchange.store, clock=now).run()

    return Role("overdue-messages", run, drain_s=0.0)


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
                apps=exchange.sending,
                noted=exchange.figures.noting(channel),
            ).run
        ),
    )


def gateways(exchange: Exchange) -> Sequence[Role]:
    return [gateway(exchange, channel) for channel in exchange.gateways]
