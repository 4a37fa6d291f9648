"""Contact tokens where there is no app: somebody signed in on a merchant's page that has an SDK, and no app code yet.

Owns the door to them: the merchant is named by the header, and nothing of a client is known, shown or changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from starlette.types import Scope

from api.access.auth import REALM, Identity
from api.emarsys import interactions, limits
from api.emarsys.answers import merchant_of, resolved
from api.emarsys.bodies import ContactBody, ContactTokenAnswer, Tokens, identity_of
from api.emarsys.dialect import BadMerchant
from api.emarsys.identity.tokens import ContactToken
from api.emarsys.lookups import address_of
from api.emarsys.patience import patiently
from api.endpoint import ADDED, HEADERS
from api.parts import Parts
from api.route import Answer, Call, Header
from commands.refresh import EndFamily
from commands.sdk_contacts import Appless, IdentifyAppless, RefreshAppless
from domain.context import Caller
from domain.errors import Unauthenticated

MERCHANT, CONTACT = b"x-merchant-id", b"x-contact-token"
SIGNED_OUT = "signed-out"


class ApplessBody(ContactBody, frozen=True, rename="camel"):
    """A contact, or a refresh token for a new contact token."""

    refresh_token: str | None = None


class ApplessVisitor(msgspec.Struct, frozen=True):
    """address: where the call comes from. added: fields for every answer to it."""

    realm: str
    headers: Mapping[bytes, bytes]
    address: str
    added: list[Header]


async def admit(_parts: Parts, scope: Scope) -> Identity:
    """A merchant is somebody's word, as its contact fields' values are; whether it is known, `sign_in` asks."""
    headers: Mapping[bytes, bytes] = scope[HEADERS]
    realm = headers.get(MERCHANT, b"").decode("latin-1")
    if not REALM.fullmatch(realm):
        raise BadMerchant("send the merchant's id as X-Merchant-Id", field="X-Merchant-Id")
    visitor = ApplessVisitor(realm, headers, address_of(scope), scope[ADDED])
    return Identity(Caller(uid="", realm=realm), math.inf, "", visitor)


async def sign_in(call: Call[ApplessBody, None]) -> Answer:
    """A refresh token is traded in before anything is counted: who holds one is let through. Everybody else has proved
    nothing, and makes contacts of a merchant that is known alone: while nobody can say, of none. Who still holds a
    contact token of the contact goes on with the refresh tokens that came with it, so that these are one family however
    often it signs in.
    """
    visitor: ApplessVisitor = call.visitor
    if call.body.refresh_token is not None:
        command = RefreshAppless(token=call.body.refresh_token)
        return await patiently(lambda: _answer(call, command))
    _count(call, visitor)
    if not await call.parts.merchants.is_known(visitor.realm):
        raise BadMerchant("there is no merchant of this id with an app here", field="X-Merchant-Id")
    usual = None
    if call.body.contact_field_id is None:
        usual = (await call.parts.merchants.settings(visitor.realm)).default_contact_field
    held = _held(call)
    family = held.family if held is not None else None
    return await _answer(call, IdentifyAppless(identity=identity_of(call.body, usual), family=family))


async def sign_out(call: Call[None, None]) -> Answer:
    """Ends the refresh tokens that came with this contact token, which may have expired: who signs out after a night
    means it, too. Whatever else it is, there is nothing to end.
    """
    visitor: ApplessVisitor = call.visitor
    _count(call, visitor)
    held = _held(call, ended_too=True)
    if held is not None and held.family is not None:
        interactions.own(call, held.contact)
        await call.parts.bus.execute(EndFamily(family=held.family, reason=SIGNED_OUT), call.context)
    return Answer(b"", 204)


def _held(
    call: Call[ApplessBody, None] | Call[None, None], *, ended_too: bool = False
) -> ContactToken | None:
    """The merchant's contact token that came along, if it is good. ended_too: it may have expired."""
    visitor: ApplessVisitor = call.visitor
    text = visitor.headers.get(CONTACT, b"").decode("latin-1")
    try:
        token = call.parts.tokens.read_contact(text, ended_too=ended_too)
    except Unauthenticated:
        return None
    return token if token.realm == visitor.realm else None


async def _answer(call: Call[ApplessBody, None], command: IdentifyAppless | RefreshAppless) -> Answer:
    visitor: ApplessVisitor = call.visitor
    standing: Appless = await call.parts.bus.execute(command, call.context, caller=call.caller)
    interactions.own(call, standing.contact)
    number, applied = standing.contact_id, tuple[Header, ...]()
    if number is None:
        number, applied = await resolved(call, visitor.realm, standing.contact, visitor.headers)
    merchant = await merchant_of(call, visitor.realm)
    signed = call.parts.tokens.sign_contact(
        ContactToken(
            contact=standing.contact,
            realm=visitor.realm,
            contact_id=number,
            family=standing.family,
        ),
        lifetime_s=merchant.contact_token_lifetime_s,
    )
    if standing.refresh_token:
        return Answer(Tokens(signed, standing.refresh_token), headers=applied)
    return Answer(ContactTokenAnswer(signed), headers=applied)


def _count(call: Call[ApplessBody, None] | Call[None, None], visitor: ApplessVisitor) -> None:
    parts = call.parts
    visitor.added.extend(limits.take_appless(parts.counter, parts.now_s(), visitor.address))
