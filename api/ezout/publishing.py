"""What tills send: updates and addressed messages. The answer waits for the stream's acknowledgement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from starlette.types import Scope

from api.access.auth import Identity
from api.ezout.door import credentials
from api.ezout.parts import Shops
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from domain.errors import ClaimMismatch, Forbidden, Invalid, TooLarge, Unavailable
from domain.shop import (
    Addressed,
    ShopMessage,
    Update,
    assert_addressed_to,
    assert_may_write,
    body_of,
    claim_of,
    topic_of,
)

GROUP = "shops"
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Sent(msgspec.Struct, frozen=True):
    status: str


async def publish(call: Call[Update, None]) -> Answer:
    shop = call.body.shop_id
    if call.path["shop_id"] != str(shop):
        # Written in another way, or another shop, or none.
        shop = shop_of(call.path)
    assert_may_write(call.caller, shop)
    assert_addressed_to(shop, call.body)
    return await _send(call, call.body)


async def send(call: Call[Addressed, None]) -> Answer:
    assert_may_write(call.caller, call.body.shop_id)
    return await _send(call, call.body)


async def _send(call: Call[Any, None], message: ShopMessage) -> Answer:
    body = body_of(message, call.content)
    claim = claim_of(call.caller.uid, message, call.idempotency_key)
    await shops_of(call.parts).log.publish(
        message.shop_id, body, topic=topic_of(message), context=call.context, claim=claim
    )
    return Answer(Sent(f"Message sent to shop ID {message.shop_id}"))


def shop_of(path: Mapping[str, str], name: str = "shop_id") -> UUID:
    """A UUID of the address. Raises Invalid."""
    if not _UUID.fullmatch(path[name]):
        raise Invalid(f"{name} in the address is no UUID", field=name)
    return UUID(path[name])


def shops_of(parts: Parts) -> Shops:
    """Raises Unavailable where this process does not serve shops."""
    if parts.shops is None:
        raise Unavailable("this process does not serve shops")
    return parts.shops


async def admit(parts: Parts, scope: Scope) -> Identity:
    """The caller of a shop's route."""
    return await shops_of(parts).door.admit(*credentials(scope))


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/publish/{shop_id}",
        handler=publish,
        who=Who.SHOP,
        admit=admit,
        body=Update,
        answer=Sent,
        summary="Tell a shop's merchant what happened at the till; answered once the update is on the log.",
        group=GROUP,
        idempotent=True,
        errors=(Invalid, Forbidden, ClaimMismatch, TooLarge, Unavailable),
    ),
    Route(
        method="POST",
        path="/send",
        handler=send,
        who=Who.SHOP,
        admit=admit,
        body=Addressed,
        answer=Sent,
        summary="Send a message to a shop, or to one shopper session in it.",
        group=GROUP,
        idempotent=True,
        errors=(Invalid, Forbidden, ClaimMismatch, TooLarge, Unavailable),
    ),
)
