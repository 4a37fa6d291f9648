"""Tags that generation 4 gives to messages, several changes in a call: each becomes a device event, or is kept as
refused, with the reason. One bad change costs no other: the SDK joins those of all messages, and drops all at a 4xx.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from api.emarsys.device_events.batches import KEPT_CHARS, REFUSED_MAX, read_list
from api.emarsys.device_events.events import client_of
from api.emarsys.device_events.wanted import unwanted
from api.emarsys.dialect import V4
from api.emarsys.door import Visitor
from api.emarsys.identity.belonging import FOREIGN, belongs
from api.emarsys.interactions import drop
from api.route import Answer, Call
from domain.devices.device_actions import MESSAGE_ID, TAG, TAG_ADD, TAG_CHARS_MAX, TAG_REMOVE, tagged
from domain.devices.signal import EVENTS_KIND, CampaignView, DeviceEvent, DeviceEvents, Refused

VERSION = "1.0"
TAG_CHANGES_MAX = 500
"""Of one call; the SDK joins ten."""
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class TagUpdate(msgspec.Struct, frozen=True, rename="camel"):
    """One change of a message's tags."""

    message_id: str
    operation: Literal["add", "remove"]
    tag: str
    tracking_info: str | None = None

    def read(self) -> TagUpdate:
        """Raises ValueError for what is no change of a message's tags."""
        try:
            UUID(self.message_id)
        except ValueError:
            raise ValueError("messageId is no message's") from None
        if tagged(self.event(_ANY_TIME)) is None:
            raise ValueError(f"a tag has 1 to {TAG_CHARS_MAX} characters")
        return self

    def event(self, at: datetime) -> DeviceEvent:
        return DeviceEvent(
            name=TAG_ADD if self.operation == "add" else TAG_REMOVE,
            at=at,
            internal=True,
            attributes={MESSAGE_ID: self.message_id, TAG: self.tag},
            tracking=self.tracking_info or "",
        )


class TagsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    total_changes: int
    changes: list[dict[str, str]]


class TagChanges(msgspec.Struct, frozen=True):
    """A call's changes, good and bad."""

    updates: tuple[TagUpdate, ...]
    refused: tuple[Refused, ...]


_decode = msgspec.json.Decoder(TagUpdate).decode


class TagsV4(V4):
    """Bodies are read item by item."""

    def body(self, kind: Any, content: bytes) -> Any:
        updates, refused = read_list(content, _decode, most=TAG_CHANGES_MAX)
        return TagChanges(tuple(updates), tuple(refused))


async def tags(call: Call[TagChanges, None]) -> Answer:
    """Answers what was taken. Raises Unavailable, Unauthenticated."""
    client, contact = client_of(call.visitor), call.visitor.proof.whose
    taken, refused, now = call.body.updates, call.body.refused, call.parts.clock()
    if taken and (contact is None or not await belongs(call, client, contact)):
        refused = (*refused, *(_foreign(each, place) for place, each in enumerate(taken)))[:REFUSED_MAX]
        taken = ()
    if taken or refused:
        await append(call, events=tuple(each.event(now) for each in taken), refused=refused)
    changes = [
        {
            "messageId": update.message_id,
            "operation": update.operation.upper(),
            "tag": update.tag,
            "trackingInfo": update.tracking_info or "",
        }
        for update in taken
    ]
    return Answer(TagsAnswer(VERSION, len(changes), changes))


def _foreign(update: TagUpdate, place: int) -> Refused:
    item = msgspec.json.encode(update).decode()[:KEPT_CHARS]
    return Refused(part="events", index=place, reason=FOREIGN, item=item)


async def append(
    call: Call[Any, Any],
    *,
    events: tuple[DeviceEvent, ...] = (),
    clicks: tuple[CampaignView, ...] = (),
    refused: tuple[Refused, ...] = (),
) -> None:
    """Unless nobody wants it. Raises Unavailable, Unauthenticated."""
    visitor: Visitor = call.visitor
    client = client_of(visitor)
    reason = await unwanted(call)
    if reason is not None:
        drop(call, reason, items=len(events) + len(clicks) + len(refused))
        return
    signal = DeviceEvents(
        client=client,
        contact=visitor.proof.whose,
        app=visitor.app.code,
        events=events,
        clicks=clicks,
        refused=refused,
    )
    context = call.context
    await call.parts.signals.append(
        signal, kind=EVENTS_KIND, realm=visitor.app.realm, correlation=context.correlation
    )
