"""`msgxc resolve` as roles: contacts get their numbers, clients theirs, and suites their news."""

from __future__ import annotations

from cli.bootstrap import Exchange
from cli.roles import Made, role
from cli.session import now
from infra.supervisor import Role, Stop
from processes.contact_ids import ClientsMaintainer, ContactIdWriter
from processes.port import Log
from processes.resolution import ContactResolver, ExpiredWriter, Resolver


def resolving(exchange: Exchange) -> list[Role]:
    """Everything between a contact that was named and its number, wherever that is shown."""
    e = exchange

    def resolver(log: Log) -> Resolver:
        return Resolver(log=log, store=e.log.events, bus=e.bus, data=e.contact_data, clock=now)

    made: dict[str, Made] = {
        "contact-resolver": lambda log: ContactResolver(log=log, resolver=resolver(log)).run,
        "expired-writer": lambda log: ExpiredWriter(log=log, resolver=resolver(log)).run,
        "contact-id-writer": lambda log: (
            ContactIdWriter(log=log, bus=e.bus, models=e.store, watermark=e.watermark).run
        ),
        "clients-maintainer": lambda log: ClientsMaintainer(log=log, bus=e.bus).run,
    }
    return [role(name, exchange, make) for name, make in made.items()]


def following_resolutions(exchange: Exchange) -> Role:
    """For every process that waits for numbers."""

    async def run(_stop: Stop) -> None:
        await exchange.resolutions.run()

    return Role("resolutions", run, drain_s=0.0)
