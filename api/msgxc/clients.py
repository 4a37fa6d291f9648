"""One's own devices: enlisted to get pushes, listed, forgotten."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from api.msgxc.bodies import EnlistBody
from api.route import Answer, Call, Route, Who
from commands.clients import ForgetClient
from commands.scope import claim_for
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from projections import clients
from projections.port import Row

GROUP = "clients"


class ClientView(msgspec.Struct, frozen=True, kw_only=True):
    """active: it can be pushed to. retired: why not any more, in the provider's word."""

    client: UUID
    app: str | None
    channel: str | None
    active: bool
    retired: str | None
    registered: datetime | None
    updated: datetime | None


class ClientsView(msgspec.Struct, frozen=True):
    items: list[ClientView]


class WhichClient(msgspec.Struct, frozen=True):
    """client: one of them; all if it is left out."""

    client: UUID | None = None


async def enlist(call: Call[EnlistBody, None]) -> Answer:
    command, endpoint = call.body.command(call.caller.uid), call.body.endpoint
    if endpoint is not None and not call.parts.may_push_to(endpoint):
        raise Invalid("this exchange sends to no push service there (MSGXC_WEBPUSH_HOSTS)", field="endpoint")
    key = call.idempotency_key
    claim = claim_for(key, caller=call.caller, route="enlist", thread="", command=command) if key else None
    await call.parts.bus.execute(command, call.context, caller=call.caller, claim=claim)
    return Answer()


async def list_own(call: Call[None, None]) -> Answer:
    return Answer(ClientsView([_view(row) for row in await _own(call)]))


async def forget(call: Call[None, None]) -> Answer:
    try:
        client = UUID(call.path["client"])
    except ValueError:
        raise NotFound("you have no such device", field="client") from None
    await _forget(call, client)
    return Answer()


async def forget_all(call: Call[None, WhichClient]) -> Answer:
    if call.query.client is not None:
        await _forget(call, call.query.client)
        return Answer()
    for row in await _own(call):
        # One that has gone since its row was read is no failure: none is left.
        with suppress(NotFound):
            await _forget(call, row["client"])
    return Answer()


async def _own(call: Call[Any, Any]) -> list[Row]:
    parts, caller = call.parts, call.caller
    contact = parts.ids.contact(caller.realm, caller.uid)
    return await clients.of_contact(parts.models, caller.realm, contact)


async def _forget(call: Call[Any, Any], client: UUID) -> None:
    command = ForgetClient(uid=call.caller.uid, client=client)
    await call.parts.bus.execute(command, call.context, caller=call.caller)


def _view(row: Row) -> ClientView:
    return ClientView(
        client=row["client"],
        app=row["app"],
        channel=row["channel"],
        active=row["token"] is not None,
        retired=row["retired"],
        registered=row["registered"],
        updated=row["updated"],
    )


ENLIST_ROUTES = (
    Route(
        method="POST",
        path="/api/v2/enlist",
        handler=enlist,
        who=Who.TOKEN,
        body=EnlistBody,
        summary="Register this device for pushes; the same device again is one device.",
        group=GROUP,
        idempotent=True,
        errors=(Conflict, Unavailable),
    ),
)

ROUTES = (
    Route(
        method="GET",
        path="/api/v2/clients",
        handler=list_own,
        who=Who.TOKEN,
        answer=ClientsView,
        reads=("clients",),
        summary="One's own devices.",
        group=GROUP,
        errors=(Unavailable,),
    ),
    Route(
        method="DELETE",
        path="/api/v2/clients",
        handler=forget_all,
        who=Who.TOKEN,
        query=WhichClient,
        reads=("clients",),
        summary="Forget one or all of one's own devices.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="DELETE",
        path="/api/v2/clients/{client}",
        handler=forget,
        who=Who.TOKEN,
        summary="Forget one of one's own devices.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
)
