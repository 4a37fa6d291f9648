"""Devices that come from another app: asked to by their SDK, or with an update of the app that has another code.

The state of the former app is the proof of where a device comes from. Never takes a contact to another merchant.
"""

from __future__ import annotations

import msgspec

from api.emarsys.identity.tokens import ClientState
from api.parts import Parts
from commands.sdk_clients import Device, MoveIn, MoveOut, Standing
from domain.app import AppFacts
from domain.client import Client
from domain.context import Caller, Context


async def arrive(
    parts: Parts,
    context: Context,
    app: AppFacts,
    former: ClientState,
    *,
    with_contact: bool = False,
    keeps_contact: bool = False,
    from_abroad: bool = False,
) -> Standing:
    """The device of `former` is of `app` from now on. One step within a merchant; else the new client first, whose id
    follows from the old one's, so that a device that asks again after a fault finds it, and the rest is done.

    with_contact, keeps_contact, from_abroad: as MoveIn has them. Raises Unauthenticated for who comes from abroad
    and may not.
    """
    source_realm = await _realm_of(parts, former)
    command = MoveIn(
        device=Device(app=app.code, client_id=former.client_id),
        source=former.client,
        with_contact=with_contact,
        keeps_contact=keeps_contact,
        from_abroad=from_abroad,
    )
    here = msgspec.structs.replace(context, realm=app.realm)
    caller = Caller(uid=former.client_id, realm=app.realm)
    standing: Standing = await parts.bus.execute(command, here, caller=caller)
    if source_realm not in (None, app.realm):
        device = Device(app=former.app, client_id=former.client_id, client=former.client)
        there = msgspec.structs.replace(context, realm=source_realm)
        await parts.bus.execute(MoveOut(device=device, to=app.code, client=standing.client), there)
    return standing


async def _realm_of(parts: Parts, former: ClientState) -> str | None:
    """The merchant that the device comes from, whose app may have been retired since; None: there is no such client."""
    app = await parts.apps.app(former.app)
    return app.realm if app is not None else await parts.bus.store.realm_of(Client, former.client)
