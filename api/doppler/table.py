"""Every route of the doppler contract. Patterns are tried in this order, so the widest comes last."""

from __future__ import annotations

from api.doppler import contacts, domains, links, messages, removed, statistics
from api.route import Route

ROUTES: tuple[Route, ...] = (
    *contacts.ROUTES,
    *links.ROUTES,
    *domains.ROUTES,
    *statistics.ROUTES,
    *messages.ROUTES,
    *removed.ROUTES,
    contacts.VISITOR_ROUTE,
)

PATHS = ("/push-contacts", "/message", "/messages", "/domains", "/history-events")
"""What the contract lets pages of any origin call, with their credentials."""
