"""Receipts that a contact's own clients send back: delivered, read, clicked.

Only what was sent to them, on that channel and client, has receipts: others never come to the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args
from uuid import UUID

import msgspec

from api.msgxc.bodies import Body
from api.parts import Parts
from api.route import Answer, Call, Route, Who
from domain.context import Caller
from domain.deliveries.channel import WEBSOCKET
from domain.deliveries.delivery import Receipt
from domain.errors import Invalid, NotFound, Unavailable
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from processes.dispatching.audience import is_shown_to
from projections import deliveries, messages
from projections.catalogue import AUDIENCE

Kind = Literal["delivered", "read", "clicked"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WAIT_S_MAX = 5.0
"""For read models that are behind; then the client is told to send its receipt again."""


class OwnReceipt(msgspec.Struct, frozen=True):
    """Decoded loosely, since sockets send the same in a frame.

    One may come before the read models know of the delivery, so it is refused only once they have passed all that was
    on the log when it came.
    """

    mid: UUID | None
    kind: str | None
    channel: str = WEBSOCKET
    client: UUID | None = None

    async def take(self, parts: Parts, caller: Caller) -> None:
        """Raises Invalid, NotFound, Unavailable."""
        if self.mid is None:
            raise Invalid("mid is missing", field="mid")
        kind = next((kind for kind in KINDS if kind == self.kind), None)
        if kind is None:
            raise Invalid(f"kind is one of {', '.join(KINDS)}", field="kind")
        receipt = Receipt(
            realm=caller.realm,
            message=self.mid,
            channel=self.channel,
            contact=parts.ids.contact(caller.realm, caller.uid),
            client=self.client,
            kind=kind,
            at=parts.clock(),
        )
        if not (await _was_planned(parts, receipt) or await _is_on_its_way(parts, receipt)):
            raise NotFound("no such message was sent to you on this channel and client", field="mid")
        await parts.receipts.take(receipt)


async def _was_planned(parts: Parts, receipt: Receipt) -> bool:
    assert receipt.contact is not None
    return await deliveries.was_planned(
        parts.models, receipt.realm, receipt.message, receipt.contact, receipt.channel, receipt.client
    )


async def _is_on_its_way(parts: Parts, receipt: Receipt) -> bool:
    """Whether the delivery will be there once the read models have caught up."""
    if receipt.channel != WEBSOCKET:
        # A device has it only after its dispatch was written.
        await _passed(parts, ("deliveries",), DELIVERY, await parts.receipts.end())
        return await _was_planned(parts, receipt)
    if receipt.client is not None:
        return False
    # A socket may show it before its audience page is written: ask what the page will say.
    await _passed(parts, (*AUDIENCE, "messages"), EVENTS, await parts.events.end())
    row = await messages.find(parts.models, receipt.realm, receipt.message)
    message = await parts.bus.store.load(Message, receipt.message) if row and row["due_at"] else None
    if row is None or message is None or message.cancelled:
        return False
    assert receipt.contact is not None
    return await is_shown_to(parts.models, receipt.realm, message, receipt.contact, as_of=row["due_at"])


async def _passed(parts: Parts, projections: Sequence[str], stream: str, position: int) -> None:
    try:
        await parts.watermark.passed(projections, stream, position, timeout_s=WAIT_S_MAX)
    except TimeoutError:
        raise Unavailable("the read models are behind; send the receipt again") from None


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
        errors=(NotFound, Unavailable),
    ),
)
