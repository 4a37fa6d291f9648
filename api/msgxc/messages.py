"""Accepting messages, and what became of them."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from api.cursor import Page
from api.msgxc.bodies import BroadcastBody, MessageBody, MulticastBody, PublishBody, SendBody
from api.msgxc.reading import Paging, message_for, place_of, uid_of
from api.route import Answer, Call, Route, Who
from commands.messaging import Accepted, Broadcast, Cancel, FallDue, Multicast, Publish, Send
from commands.scope import Claim, claim_for
from domain.errors import ClaimMismatch, Conflict, Forbidden, NotFound, TooLarge, Unavailable
from projections import contacts, deliveries
from projections import messages as query
from projections.port import Row

GROUP = "messages"


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """state: scheduled, cancelled, due, dispatched or settled. msg is null when the thread is confidential.

    app: the code of the app that sends, null when none does.

    totals: contacts decided on, those left out, sends planned and what they came to.
    """

    mid: UUID
    tid: str | None
    audience: str
    app: str | None
    state: str
    sender: str
    subject: str | None
    msg: str | None
    opts: dict[str, Any] | None
    urgency: int
    mtypes: list[str] | None
    pmid: str | None
    created: datetime
    scheduled: datetime | None
    expires: datetime | None
    due: datetime | None
    cancelled: datetime | None
    dispatched: datetime | None
    settled: datetime | None
    position: int
    totals: dict[str, int] = {}


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one client (null: the contact's own address) on one channel.

    state: the furthest it has come. code, detail: the provider's answer. times: when each state was
    reached; attempted: when the last try began. repeated: it may have been sent twice, under one collapse id.
    """

    contact: str
    client: UUID | None
    channel: str
    state: str
    provider_id: str | None
    code: str | None
    detail: str | None
    repeated: bool
    times: dict[str, datetime]


def publish(call: Call[PublishBody, None]) -> Awaitable[Answer]:
    command = Publish(tid=call.body.tid, draft=call.body.draft())
    claim = _claim(call, "publish", command, thread=call.body.tid) if call.idempotency_key else None
    return _accept(call, command, claim)


def send(call: Call[SendBody, None]) -> Awaitable[Answer]:
    command = Send(uid=call.body.uid, draft=call.body.draft())
    return _accept(call, command, _claim(call, "send", command))


def multicast(call: Call[MulticastBody, None]) -> Awaitable[Answer]:
    command = Multicast(uids=tuple(call.body.uids), draft=call.body.draft())
    return _accept(call, command, _claim(call, "multicast", command))


def broadcast(call: Call[BroadcastBody, None]) -> Awaitable[Answer]:
    command = Broadcast(draft=call.body.draft())
    return _accept(call, command, _claim(call, "broadcast", command))


async def cancel(call: Call[MessageBody, None]) -> Answer:
    command = Cancel(message=call.body.mid, tid=call.body.tid)
    return await _change(call, "cancel", command)


async def execute(call: Call[MessageBody, None]) -> Answer:
    command = FallDue(message=call.body.mid, tid=call.body.tid)
    return await _change(call, "execute", command)


async def find(call: Call[None, None]) -> Answer:
    row = await message_for(call, call.path["mid"])
    totals = await deliveries.totals(call.parts.models, call.caller.realm, row["message"])
    return Answer(view_of(row, totals))


async def list_deliveries(call: Call[None, Paging]) -> Answer:
    row = await message_for(call, call.path["mid"])
    realm, mid = call.caller.realm, row["message"]
    place = place_of(call, f"deliveries|{realm}|{mid}", str)
    rows, after = await deliveries.of_message(
        call.parts.models, realm, mid, cursor=place.after, limit=call.query.limit
    )
    uids = await contacts.uids(call.parts.models, realm, [row["contact"] for row in rows])
    return Answer(Page([delivery_view(row, uids) for row in rows], place.next(after)))


async def _accept(call: Call[Any, Any], command: msgspec.Struct, claim: Claim | None) -> Answer:
    bus = call.parts.bus
    accepted: Accepted = await bus.execute(command, call.context, caller=call.caller, claim=claim)
    if accepted.message is None:
        # The thread is switched off: taken and dropped, as in the original.
        return Answer()
    mid = msgspec.to_builtins(accepted.message)  # a third of the time that str takes for it
    return Answer(location=f"/api/v2/messages/{mid}")


async def _change(call: Call[MessageBody, None], route: str, command: msgspec.Struct) -> Answer:
    claim = _claim(call, route, command)
    await call.parts.bus.execute(command, call.context, caller=call.caller, claim=claim)
    return Answer()


def _claim(call: Call[Any, Any], route: str, command: msgspec.Struct, *, thread: str = "") -> Claim | None:
    key = call.idempotency_key
    return claim_for(key, caller=call.caller, route=route, thread=thread, command=command) if key else None


def view_of(row: Row, totals: dict[str, int]) -> MessageView:
    return MessageView(
        mid=row["message"],
        tid=row["tid"],
        audience=row["audience"],
        app=row["app"],
        state=query.state_of(row),
        sender=row["sender"],
        subject=row["subject"],
        msg=row["text"],
        opts=row["opts"],
        urgency=row["urgency"],
        mtypes=row["channels"],
        pmid=row["parent"],
        created=row["accepted"],
        scheduled=row["scheduled"],
        expires=row["expires"],
        due=row["due"],
        cancelled=row["cancelled"],
        dispatched=row["dispatched"],
        settled=row["settled"],
        position=row["accepted_at"],
        totals=totals,
    )


def delivery_view(row: Row, uids: dict[UUID, str]) -> DeliveryView:
    return DeliveryView(
        contact=uid_of(row["contact"], uids),
        client=UUID(row["client"]) if row["client"] else None,
        channel=row["channel"],
        state=row["status"],
        provider_id=row["provider_id"],
        code=row["code"],
        detail=row["detail"],
        repeated=bool(row["repeated"]),
        times={state: row[state] for state in deliveries.STATES_BY_RANK if row[state] is not None},
    )


_ACCEPTS: dict[str, Any] = {
    "method": "POST",
    "group": GROUP,
    "idempotent": True,
    "location": True,
}
_WRITE_ERRORS = (TooLarge, ClaimMismatch, Unavailable)

ROUTES = (
    Route(
        path="/api/v2/publish",
        handler=publish,
        who=Who.RIGHTS,
        body=PublishBody,
        summary="Send a message to everyone subscribed to a thread, now or at a time.",
        errors=(Forbidden, NotFound, *_WRITE_ERRORS),
        **_ACCEPTS,
    ),
    Route(
        path="/api/v2/send",
        handler=send,
        who=Who.ADMIN,
        body=SendBody,
        summary="Send a message to one contact.",
        errors=(NotFound, *_WRITE_ERRORS),
        **_ACCEPTS,
    ),
    Route(
        path="/api/v2/multicast",
        handler=multicast,
        who=Who.ADMIN,
        body=MulticastBody,
        summary="Send a message to many contacts, each once; unknown ones are recorded as left out.",
        errors=_WRITE_ERRORS,
        **_ACCEPTS,
    ),
    Route(
        path="/api/v2/broadcast",
        handler=broadcast,
        who=Who.ADMIN,
        body=BroadcastBody,
        summary="Send a message to every contact of the realm.",
        errors=_WRITE_ERRORS,
        **_ACCEPTS,
    ),
    Route(
        method="POST",
        path="/api/v2/cancel",
        handler=cancel,
        who=Who.ADMIN,
        body=MessageBody,
        summary="Stop a scheduled message.",
        group=GROUP,
        idempotent=True,
        errors=(NotFound, Conflict, Unavailable),
    ),
    Route(
        method="POST",
        path="/api/v2/execute/message",
        handler=execute,
        who=Who.ADMIN,
        body=MessageBody,
        summary="Send a scheduled message now.",
        group=GROUP,
        idempotent=True,
        errors=(NotFound, Conflict, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/messages/{mid}",
        handler=find,
        who=Who.RIGHTS,
        summary="A message's state and totals; for its sender, the thread's owner and admins.",
        group=GROUP,
        answer=MessageView,
        reads=("messages",),
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/messages/{mid}/deliveries",
        handler=list_deliveries,
        who=Who.RIGHTS,
        query=Paging,
        summary="What became of a message, for each contact, channel and client.",
        group=GROUP,
        answer=Page[DeliveryView],
        reads=("messages",),
        errors=(NotFound, Unavailable),
    ),
)
