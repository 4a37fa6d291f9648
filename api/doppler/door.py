"""Who comes in to the doppler contract: a superuser, where this process serves web domains at all."""

from __future__ import annotations

from starlette.types import Scope

from api.access.auth import Identity
from api.doppler.parts import WebDomains
from api.parts import Parts
from domain.errors import Unavailable


def domains_of(parts: Parts) -> WebDomains:
    """Raises Unavailable where this process does not serve web domains."""
    if parts.domains is None:
        raise Unavailable("this process does not serve web domains")
    return parts.domains


async def admit(parts: Parts, scope: Scope) -> Identity:
    """The superuser who calls."""
    return await domains_of(parts).superusers.admit(scope)
