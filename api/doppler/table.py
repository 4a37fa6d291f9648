"""Every route of the doppler contract. Patterns are tried in this order, so the widest comes last."""

from __future__ import annotations

from dataclasses import replace

from api.doppler import contacts, domains, links, messages, removed, statistics
from api.route import Route
from domain.errors import Unavailable

_ALL = (
    *contacts.ROUTES,
    *links.ROUTES,
    *domains.ROUTES,
    *statistics.ROUTES,
    *messages.ROUTES,
    *removed.ROUTES,
    contacts.VISITOR_ROUTE,
)
ROUTES: tuple[Route, ...] = tuple(replace(route, errors=(*route.errors, Unavailable)) for route in _ALL)
"""Each may be called again when the log or the read models could not be asked: the original answered 500, or zeros."""

PATHS = ("/push-contacts", "/message", "/messages", "/domains", "/history-events")
"""What the contract lets pages of any origin call, with their credentials."""
