"""The client service, on the client: register, push token, move to another app."""

from __future__ import annotations

from typing import Any

import msgspec

from api.emarsys import answers
from api.emarsys.bodies import Properties, PushTokenBody, SwitchBody, properties_of
from api.emarsys.client_service.moving import arrive
from api.emarsys.dialect import V3, V4, decode_lax
from api.emarsys.door import Contract, Visitor, arrived
from api.emarsys.identity.proofs import Proof
from api.emarsys.lookups import app_of, toll_of
from api.route import Answer, Call
from commands.sdk_clients import ClearPushToken, RegisterClient, SetPushToken, Standing
from domain.errors import Invalid


class RegistrationV3(V3):
    """Bodies are a client's properties, bounded."""

    def body(self, kind: Any, content: bytes) -> Properties:
        return properties_of(decode_lax(kind, content), content)


class RegistrationV4(V4):
    """Likewise."""

    def body(self, kind: Any, content: bytes) -> Properties:
        return properties_of(decode_lax(kind, content), content)


async def register(call: Call[Properties, None]) -> Answer:
    """v4 gives tokens, and so a contact, to who comes without, or with those of a client that it is not (any more)."""
    visitor: Visitor = call.visitor
    signs_in = False
    if visitor.contract is Contract.V4:
        is_known = visitor.proof.state is not None and visitor.proof.former is None
        signs_in = not (is_known and visitor.headers.get(b"ec-contact"))
    command = RegisterClient(device=visitor.device, properties=call.body, with_contact=signs_in)
    # Hot path: as `execute`, which would be a coroutine more.
    standing: Standing = await call.parts.bus.execute(command, call.context, caller=call.caller)
    call.client = standing.client
    return await answers.with_tokens(call, standing) if signs_in else answers.with_state(call, standing)


async def set_push_token(call: Call[PushTokenBody, None]) -> Answer:
    command = SetPushToken(device=call.visitor.device, token=call.body.push_token)
    return answers.with_state(call, await execute(call, command))


async def clear_push_token(call: Call[None, None]) -> Answer:
    """Who has proved nothing has no push token here: what they ask for is so, and no client is made of it."""
    if call.visitor.proof.client is None:
        return Answer(b"", 204)
    return answers.with_state(call, await execute(call, ClearPushToken(device=call.visitor.device)))


async def switch(call: Call[SwitchBody, None]) -> Answer:
    """The device goes over to another app. Asked again, after a lost answer, it is the same client there."""
    visitor: Visitor = call.visitor
    if visitor.state is None and visitor.proof.former is None:
        raise Invalid("send the client state, so that we know which client moves", field="ec-client-state")
    target = await app_of(call.parts, call.body.to, toll=toll_of(call.parts, visitor.address))
    if target.id == visitor.app.id:
        raise Invalid("the device is this app's already", field="to")
    await arrived(call)
    visitor = call.visitor
    assert visitor.state is not None, "who comes from another app has one since it arrived"
    standing = await arrive(
        call.parts, call.context, target, visitor.state, with_contact=True, from_abroad=True
    )
    there = msgspec.structs.replace(
        call,
        visitor=msgspec.structs.replace(visitor, app=target, proof=Proof(client_id=visitor.client_id)),
        context=msgspec.structs.replace(call.context, realm=target.realm),
    )
    return await answers.with_tokens(there, standing)


async def execute(call: Call[Any, Any], command: msgspec.Struct) -> Standing:
    standing: Standing = await call.parts.bus.execute(command, call.context, caller=call.caller)
    call.client = standing.client
    return standing
