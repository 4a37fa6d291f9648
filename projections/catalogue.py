"""All read models: what a projector runs, what `msgxc projections` lists, what the schemas are made from."""

from __future__ import annotations

from projections.app_clients import AppClients
from projections.apps import Apps
from projections.clients import Clients
from projections.contacts import Contacts
from projections.deliveries import Deliveries
from projections.devices import Devices
from projections.inbox import Inbox
from projections.messages import Messages
from projections.numbers import Numbers
from projections.port import Projection
from projections.push_contacts import PushContacts
from projections.reach import Reach
from projections.shops import Shops
from projections.statistics import Statistics
from projections.threads import Threads

ALL: tuple[Projection, ...] = (
    Contacts(),
    Reach(),
    AppClients(),
    Clients(),
    Threads(),
    Messages(),
    Numbers(),
    Deliveries(),
    Shops(),
    Apps(),
    Inbox(),
    Devices(),
    PushContacts(),
    Statistics(),
)

AUDIENCE = ("contacts", "reach", "app_clients", "threads")
"""What must have passed a message's position before its audience is decided."""
