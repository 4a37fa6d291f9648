"""Device events: a batch becomes one signal, and the device is told what to do about it.

The answer waits for the stream's acknowledgement, for nothing else. What an event leads to besides (a receipt, a
message) is done by processes behind the stream.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any
from uuid import UUID

import msgspec
from starlette.types import Scope

from api.access.auth import Identity
from api.emarsys.answers import news
from api.emarsys.device_events.batches import Batch, EventsBody, read_batch
from api.emarsys.device_events.wanted import dropped, unwanted
from api.emarsys.dialect import V3, V4
from api.emarsys.door import Contract, Door, Visitor
from api.emarsys.identity.belonging import without_foreign_tags
from api.emarsys.identity.tokens import STATE_HEADER
from api.endpoint import STATUS
from api.http.body import ClientGone
from api.http.hanging_up import HUNG_UP, hang_up
from api.parts import Parts
from api.route import Answer, Call
from domain.devices.device_actions import STARTS, TAGGING, has_effect, told_of
from domain.devices.event_action import EventAction, is_read_by_v5
from domain.devices.signal import EFFECTS_KIND, EVENTS_KIND, DeviceEvents, SignalKind
from domain.errors import Unauthenticated, Unavailable
from projections import devices

BODY_BYTES_MAX = 2 << 20
"""Some six thousand events: a device that was offline for weeks sends them all at once, and would lose them all at a
413. As a signal they fit into one message of the stream, which holds twice as much.
"""
BODY_PASSED_OVER = 14 << 20
"""Beyond that. A device that finds its connection broken before it has sent all keeps what it has gathered, sends it
again, and adds to it: it would get no other call through any more. Android reads no answer before (RequestTask.kt at
3.11.0); at a 413 it begins anew.
"""

IN_FLIGHT_MAX = 512
"""Signals of this process that wait for the stream; by then a device waits some tenths of a second, and more at a time
would only make all of them wait longer, and every other route with them.
"""


class EventsDoor(Door):
    """As the door of every route; but a crowd that the stream or the memory can't keep up with is turned away unheard.

    By a closed connection, not by a 503: generation 4 drops an event after six refusals within a minute, and sends it
    again later when there was no answer at all. To native SDKs both are the same.
    """

    def __call__(self, parts: Parts, scope: Scope) -> Coroutine[Any, Any, Identity]:
        if parts.signals.in_flight >= IN_FLIGHT_MAX or not parts.room.take(scope, BODY_BYTES_MAX):
            return self._turn_away(scope)
        return super().__call__(parts, scope)

    async def _turn_away(self, scope: Scope) -> Identity:
        if await hang_up(scope):
            scope[STATUS] = HUNG_UP
            raise ClientGone
        raise Unavailable("too many device events at a time; send them again")


class OnEventAction(msgspec.Struct, frozen=True, rename="camel"):
    """actions: the device carries them out."""

    campaign_id: str
    actions: tuple[dict[str, Any], ...]


class EventsAnswer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What native SDKs and W read: the first action that matches, and the state that the device is to keep.

    old_campaigns: those of which the device is to tell no more what was shown and pressed.
    """

    on_event_action: OnEventAction | None = None
    device_event_state: Any = None
    old_campaigns: tuple[str, ...] | None = None


class ActionCampaign(msgspec.Struct, frozen=True, rename="camel"):
    """tracking_info: comes back with what the actions lead to."""

    tracking_info: str
    actions: tuple[dict[str, Any], ...]


class CampaignsAnswer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What v5 reads: all actions that match."""

    action_campaigns: tuple[ActionCampaign, ...] | None = None
    device_event_state: Any = None


class EventsV3(V3):
    """Bodies are read item by item."""

    def body(self, kind: Any, content: bytes) -> Any:
        return read_batch(content)


class EventsV5(V4):
    """Likewise."""

    def body(self, kind: Any, content: bytes) -> Any:
        return read_batch(content)


async def take(call: Call[Batch, None]) -> Answer:
    """204 when there is nothing to tell the device."""
    visitor, batch = call.visitor, call.body
    client, reason = client_of(visitor), await unwanted(call)
    if reason is not None:
        return await dropped(call, reason, items=batch.items)
    # Hot path: apps' own events, which nearly all are, mean nothing to the exchange unless the app's settings say so.
    means_something = bool(batch.internal or visitor.app.settings.event_actions)
    if not batch.is_empty:
        kept, contact, context = batch, visitor.proof.whose, call.context
        if contact is not None and not TAGGING.isdisjoint(batch.internal):
            kept = await without_foreign_tags(call, client, contact, batch)
        kind: SignalKind = EVENTS_KIND
        if means_something and has_effect(visitor.app.settings, batch.events):
            kind = EFFECTS_KIND
        await call.parts.signals.append(
            _signal(kept, client, visitor), kind=kind, realm=context.realm, correlation=context.correlation
        )
    # Once in a while is enough for what has changed without the device, such as its contact's number: it costs reads.
    starts = not STARTS.isdisjoint(batch.internal)
    headers = await news(call) if starts or visitor.proof.state is None else ()
    value = None
    if means_something or batch.state is not None:
        value = await _answer(call, client, starts=starts)
    return Answer(b"", 204, headers=headers) if value is None else Answer(value, headers=headers)


async def take_v3(call: Call[Batch, None]) -> Answer:
    """As `take`. Below /v3 a native SDK tells with every request all that was ever shown and pressed of a campaign,
    until an answer calls that old (InAppCleanUpResponseHandler.kt at 3.11.0): its requests would grow until they are
    refused.
    """
    answer, batch = await take(call), call.body
    told = tuple(dict.fromkeys(each.campaign for each in (*batch.viewed, *batch.clicks)))
    was_dropped = call.remark is not None
    if not told or was_dropped:
        return answer
    value = answer.value if isinstance(answer.value, EventsAnswer) else EventsAnswer()
    return Answer(msgspec.structs.replace(value, old_campaigns=told), headers=answer.headers)


def _signal(batch: Batch, client: UUID, visitor: Visitor) -> DeviceEvents:
    return DeviceEvents(
        client=client,
        contact=visitor.proof.whose,
        app=visitor.app.code,
        events=batch.events,
        clicks=batch.clicks,
        viewed=batch.viewed,
        refused=batch.refused,
        dnd=batch.dnd,
        state=batch.state,
    )


async def _answer(
    call: Call[Batch, None], client: UUID, *, starts: bool
) -> EventsAnswer | CampaignsAnswer | None:
    visitor: Visitor = call.visitor
    state, matching = call.body.state, told_of(visitor.app.settings, call.body.events)
    if state is None and starts:
        state = await _kept_state(call, client)
    if not matching and state is None:
        return None
    if visitor.contract is Contract.V4:
        return CampaignsAnswer(_campaigns(matching), state if isinstance(state, str) else None)
    action = OnEventAction(matching[0].campaign_id, matching[0].actions) if matching else None
    return EventsAnswer(action, state)


async def _kept_state(call: Call[Batch, None], client: UUID) -> Any:
    """For a device that was set up anew and has lost it; None as long as the read model is away.

    The events are on the stream by now: a 503 would make the device send them again, or drop them.
    """
    try:
        return await devices.state_of(
            call.parts.models, call.visitor.app.realm, client, now=call.parts.clock()
        )
    except Unavailable:
        return None


def _campaigns(matching: Iterable[EventAction]) -> tuple[ActionCampaign, ...] | None:
    """None without any. An action that the SDK can't read is left out: with it all of the answer would be lost."""
    found = []
    for each in matching:
        actions = tuple(action for action in each.actions if is_read_by_v5(action))
        if actions:
            found.append(ActionCampaign(each.campaign_id, actions))
    return tuple(found) or None


def client_of(visitor: Visitor) -> UUID:
    """Raises Unauthenticated: a client id alone is a word that anybody can say."""
    client = visitor.proof.client
    if client is not None:
        return client
    raise Unauthenticated("send the client state or a contact token", field=STATE_HEADER)


__all__ = [
    "BODY_BYTES_MAX",
    "CampaignsAnswer",
    "EventsAnswer",
    "EventsBody",
    "EventsV3",
    "EventsV5",
    "take",
    "take_v3",
]
