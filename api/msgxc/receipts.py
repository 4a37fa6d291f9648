"""Receipts that a contact's own clients send back: delivered, read, clicked."""

from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

import msgspec

from api.msgxc.bodies import Body
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from domain.channel import WEBSOCKET
from domain.context import Caller
from domain.delivery import Receipt
from domain.errors import Invalid, Unavailable

Kind = Literal["delivered", "read", "clicked"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class OwnReceipt(msgspec.Struct, frozen=True):
    """Decoded loosely, since sockets send the same in a frame."""

    mid: UUID | None
    kind: str | None
    channel: str = WEBSOCKET
    client: UUID | None = None

    async def take(self, parts: Parts, caller: Caller) -> None:
        """Raises Invalid, Unavailable."""
        if self.mid is None:
            raise Invalid("mid is missing", field="mid")
        kind = next((kind for kind in KINDS if kind == self.kind), None)
        if kind is None:
            raise Invalid(f"kind is one of {', '.join(KINDS)}", field="kind")
        await parts.receipts.take(
            Receipt(
                realm=caller.realm,
                message=self.mid,
                channel=self.channel,
                contact=parts.ids.contact(caller.realm, caller.uid),
                client=self.client,
                kind=kind,
                at=parts.clock(),
            )
        )


class ReceiptBody(Body, frozen=True, kw_only=True):
    """client: the device it was shown on, for push channels; from `GET /api/v2/clients`."""

    mid: UUID
    kind: Kind
    channel: Literal["websocket", "apns", "fcm", "webpush", "sms", "email"] = "websocket"
    client: UUID | None = None


async def take(call: Call[ReceiptBody, None]) -> Answer:
    body = call.body
    receipt = OwnReceipt(body.mid, body.kind, body.channel, body.client)
    await receipt.take(call.parts, call.caller)
    return Answer()


ROUTES = (
    Route(
        method="POST",
        path="/api/v2/receipts",
        handler=take,
        who=Who.TOKEN,
        body=ReceiptBody,
        summary="Say that a message of one's own was delivered, read or clicked.",
        group="messages",
        errors=(Unavailable,),
    ),
)
