"""The client service, on who uses the client: identified, anonymous, signed out, refreshed."""

from __future__ import annotations

from typing import Any

import msgspec

from api.emarsys import answers
from api.emarsys.bodies import ContactBody, RefreshBody, identity_of
from api.emarsys.client_service.clients import execute
from api.emarsys.door import Contract, Visitor, arrived
from api.emarsys.patience import patiently
from api.route import Answer, Call
from commands.sdk_clients import Standing
from commands.sdk_contacts import IdentifyContact, MakeAnonymous, RefreshContact
from domain.errors import Invalid

UNTRUSTED = (
    "the app does not say whose id tokens are good: set its `openid` (issuer, audiences, jwks_url), "
    "or `open_id_trusted` to believe any, for a trial"
)


class ContactQuery(msgspec.Struct, frozen=True):
    """anonymous: there, with or without a value, when nobody is signed in (any more)."""

    anonymous: str | None = None


async def set_contact(call: Call[ContactBody, ContactQuery]) -> Answer:
    visitor: Visitor = call.visitor
    if visitor.contract is Contract.V3 and call.query.anonymous not in (None, "false"):
        return await make_anonymous(call)
    body: ContactBody = await _verified(call)
    usual = await _usual_field(call) if body.contact_field_id is None else None
    identity = identity_of(body, usual)
    await arrived(call)
    command = IdentifyContact(device=call.visitor.device, identity=identity)
    return await answers.with_tokens(call, await execute(call, command))


async def _verified(call: Call[ContactBody, Any]) -> ContactBody:
    """The body, with whom its id token names in place of the token.

    Raises Unauthenticated or Unavailable, or Invalid where the app says neither whose tokens are good nor that all are.
    """
    body, settings = call.body, call.visitor.app.settings
    if body.open_id_token is None:
        return body
    if settings.openid is None:
        if not settings.open_id_trusted:
            raise Invalid(UNTRUSTED, field="openIdToken")
        return body
    subject = await call.parts.id_tokens.subject(body.open_id_token, settings.openid)
    return msgspec.structs.replace(body, contact_field_value=subject, open_id_token=None)


async def make_anonymous(call: Call[Any, Any]) -> Answer:
    await arrived(call)
    return await answers.with_tokens(call, await execute(call, MakeAnonymous(device=call.visitor.device)))


async def refresh(call: Call[RefreshBody, None]) -> Answer:
    visitor: Visitor = call.visitor
    command = RefreshContact(token=call.body.refresh_token, app=visitor.app.code, client_id=visitor.client_id)
    standing: Standing = await patiently(lambda: execute(call, command))
    return await answers.with_contact_token(call, standing)


async def _usual_field(call: Call[Any, Any]) -> int | None:
    """The field that is meant when the SDK can't say: the app's, else its merchant's."""
    visitor: Visitor = call.visitor
    if visitor.app.settings.default_contact_field is not None:
        return visitor.app.settings.default_contact_field
    return (await call.parts.merchants.settings(visitor.app.realm)).default_contact_field
