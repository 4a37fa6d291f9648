"""Whose a client is now, where what it says of itself is not enough: inboxes, and the tags in them.

A client state is good for ever, and so would be a look into the inbox of whoever had the device before, and a hand in
it: a tag can hide a message. Asks the read models, and only where it matters.
"""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import msgspec

from api.emarsys.device_events.batches import KEPT_CHARS, REFUSED_MAX, Batch
from api.freshness import WAIT_S_MAX
from api.route import Call
from domain.devices.device_actions import tagged
from domain.devices.signal import DeviceEvent, Refused
from domain.errors import Unavailable
from domain.recorded import EVENTS
from projections import clients

FOREIGN = "the client is another contact's by now"
UNKNOWN = "nobody could say whose the client is"


async def belongs(call: Call[Any, Any], client: UUID, contact: UUID) -> bool:
    """Whether the client is the contact's now. Raises Unavailable."""
    parts, realm = call.parts, call.visitor.app.realm
    row = await clients.find(parts.models, realm, client)
    if row is None or row["contact"] != contact:
        # The link may be so new that the read models do not have it.
        with contextlib.suppress(TimeoutError):
            end = await parts.events.end()
            await parts.watermark.passed(("clients",), EVENTS, end, timeout_s=WAIT_S_MAX)
        row = await clients.find(parts.models, realm, client)
    return row is not None and row["contact"] == contact


async def without_foreign_tags(call: Call[Any, Any], client: UUID, contact: UUID, batch: Batch) -> Batch:
    """The batch without tags for the inbox of somebody whose client this is no longer; those are among what is refused
    of it, with the reason.

    What else came with them is taken as ever, even while nobody can say whose the client is.
    """
    try:
        if await belongs(call, client, contact):
            return batch
        reason = FOREIGN
    except Unavailable:
        reason = UNKNOWN
    gone = {each.index for each in batch.refused if each.part == "events"}
    kept, refused, place = list[DeviceEvent](), [*batch.refused], 0
    for event in batch.events:
        while place in gone:
            place += 1
        if tagged(event) is None:
            kept.append(event)
        else:
            text = msgspec.json.encode(event).decode()[:KEPT_CHARS]
            refused.append(Refused(part="events", index=place, reason=reason, item=text))
        place += 1
    return msgspec.structs.replace(batch, events=tuple(kept), refused=tuple(refused[:REFUSED_MAX]))
