"""A client's push address, as every contract sets it. Knows neither tokens' looks nor who may call."""

from __future__ import annotations

from uuid import UUID

from commands.scope import Scope
from domain.client import Client


async def tell_address(client: Client, scope: Scope, *, channel: str, identity: str, address: str) -> None:
    """The device says that this is its address. identity: what tells two of the channel's apart.

    What is so already is an event now and then: it was alive. But another client may have set the same since: whoever
    says it last has it.
    """
    token = scope.ids.token(scope.realm, channel, identity)
    is_told_again = (channel, address) == (client.channel, client.address)
    is_lost = is_told_again and await has_lost(client, token, scope)
    if is_told_again and not is_lost:
        client.renew_address(at=scope.now)
    else:
        client.set_address(at=scope.now, channel=channel, address=address, token=token, is_lost=is_lost)


async def has_lost(client: Client, token: UUID, scope: Scope, *, realm: str | None = None) -> bool:
    """Whether another client of the realm has set the token since this one did, whose loss may not be on the log yet.

    realm None: the one that acts.
    """
    return scope.owners is not None and await scope.owners.has_lost(realm or scope.realm, client.id, token)
