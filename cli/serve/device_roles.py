"""What follows from devices, as roles: clicks become receipts, events messages, and a token has one client alone."""

from __future__ import annotations

from cli.bootstrap import Exchange
from cli.serve.roles import Made, role
from domain.notifications.sid import sid_key
from infra.supervisor import Role
from processes.devices.clicks import Clicks
from processes.devices.taken_tokens import TakenTokens
from processes.devices.triggers import Triggers


def following_devices(exchange: Exchange) -> list[Role]:
    e = exchange
    made: dict[str, Made] = {
        "clicks": lambda log: Clicks(log=log, sid_key=sid_key(e.session.keyring.id_key)).run,
        "taken-tokens": lambda log: (
            TakenTokens(log=log, bus=e.bus, models=e.store, watermark=e.watermark).run
        ),
        "triggers": lambda log: Triggers(log=log, store=e.log.events, bus=e.bus, apps=e.apps).run,
    }
    return [role(name, exchange, make) for name, make in made.items()]
