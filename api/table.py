"""Every route there is, the hot ones first: what is served, documented in OpenAPI, and walked by the tests."""

from __future__ import annotations

from api.emarsys import events_table as device_events
from api.emarsys import table as devices
from api.msgxc import app_messages, apps, clients, contacts, leaving, messages, receipts, reports, threads
from api.providers import routes as providers
from api.route import Route

ROUTES: tuple[Route, ...] = (
    *device_events.EVENT_ROUTES,
    *messages.ROUTES,
    *threads.MEMBERSHIP_ROUTES,
    *clients.ENLIST_ROUTES,
    *receipts.ROUTES,
    *threads.ROUTES,
    *contacts.ROUTES,
    *leaving.ROUTES,
    *clients.ROUTES,
    *reports.ROUTES,
    *apps.ROUTES,
    *app_messages.ROUTES,
    *devices.ROUTES,
    *device_events.ROUTES,
    *providers.ROUTES,
)
