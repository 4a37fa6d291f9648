"""`msgxc resolve` as roles: contacts get their numbers, clients theirs, and suites their news."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.bootstrap import Exchange, stream_settings
from cli.serve.device_roles import following_devices
from cli.serve.roles import Made, role
from cli.session import now
from infra.draining import draining
from infra.log.states import open_states
from infra.supervisor import Role, Stop
from processes.devices.client_states import ClientStates
from processes.devices.contact_ids import ClientsMaintainer, ContactIdWriter
from processes.devices.resolution import ContactResolver, ExpiredWriter, Resolver
from processes.devices.suite_activity import SuiteActivity
from processes.devices.suite_updates import SuiteUpdater
from processes.port import Log

if TYPE_CHECKING:
    from infra.rabbitmq.updates import RabbitUpdates


def resolving(exchange: Exchange) -> list[Role]:
    """Everything between a contact that was named and its number, wherever that is shown; what others are told of
    clients; and what follows from devices' signals and push tokens.
    """
    e = exchange

    def resolver(log: Log) -> Resolver:
        return Resolver(
            log=log, store=e.log.events, bus=e.bus, data=e.contact_data, clock=now, note=e.resolved.note
        )

    made: dict[str, Made] = {
        "contact-resolver": lambda log: ContactResolver(log=log, resolver=resolver(log)).run,
        "expired-writer": lambda log: ExpiredWriter(log=log, resolver=resolver(log)).run,
        "contact-id-writer": lambda log: (
            ContactIdWriter(log=log, bus=e.bus, models=e.store, watermark=e.watermark).run
        ),
        "clients-maintainer": lambda log: ClientsMaintainer(log=log, bus=e.bus).run,
    }
    updating = _suite_updating(exchange) if e.session.settings.rabbitmq.url else []
    named = (role(name, exchange, make) for name, make in made.items())
    return [*named, *updating, _client_states(exchange), *following_devices(exchange)]


def _client_states(exchange: Exchange) -> Role:
    """Tells other systems; opened anew each time it starts."""
    kept = timedelta(seconds=stream_settings(exchange.session).states_age_s)

    async def run(stop: Stop) -> None:
        states = await open_states(exchange.log.js)
        await ClientStates(log=draining(exchange.log, stop), states=states, clock=now, kept=kept).run()

    return Role("client-states", run)


def _suite_updating(exchange: Exchange) -> list[Role]:
    """Only where there is a queue."""
    e = exchange

    def updater(log: Log, updates: RabbitUpdates) -> Callable[[], Awaitable[None]]:
        return SuiteUpdater(
            log=log,
            store=e.log.events,
            apps=e.apps,
            models=e.store,
            watermark=e.watermark,
            updates=updates,
        ).run

    def activity(log: Log, updates: RabbitUpdates) -> Callable[[], Awaitable[None]]:
        return SuiteActivity(log=log, store=e.log.events, apps=e.apps, updates=updates).run

    return [_with_queue(e, "suite-updater", updater), _with_queue(e, "suite-activity", activity)]


def _with_queue(
    exchange: Exchange, name: str, make: Callable[[Log, RabbitUpdates], Callable[[], Awaitable[None]]]
) -> Role:
    """Its connection is its own, and opened anew each time the role starts."""
    given = exchange.session.settings.rabbitmq
    assert given.url is not None
    url = given.url.reveal()

    async def run(stop: Stop) -> None:
        from infra.rabbitmq.updates import RabbitUpdates

        updates = RabbitUpdates(url, given.queue, ssl_context=_trust(exchange))
        try:
            await make(draining(exchange.log, stop), updates)()
        finally:
            await updates.aclose()

    return Role(name, run)


def _trust(exchange: Exchange) -> ssl.SSLContext | None:
    """Certificates of amqps: the operator's own authority, where one is set."""
    ca_file = exchange.session.settings.ca_file
    return ssl.create_default_context(cafile=ca_file) if ca_file is not None else None


def following_resolutions(exchange: Exchange) -> Role:
    """For every process that waits for numbers."""

    async def run(_stop: Stop) -> None:
        await exchange.resolutions.run()

    return Role("resolutions", run, drain_s=0.0)
