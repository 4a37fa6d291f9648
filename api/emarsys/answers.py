"""What devices are answered: their client state in the header, their contact token in the body.

Calls that change a client are answered with its state, changed or not, since SDKs look for it there. Others say it only
where it is news: native SDKs store it from any answer, in the order in which answers come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from api.emarsys.bodies import ContactTokenAnswer
from api.emarsys.bodies import Tokens as BothTokens
from api.emarsys.door import Visitor
from api.emarsys.identity.states import state_of
from api.emarsys.identity.tokens import ContactToken
from api.route import Answer, Call, Header
from commands.sdk_clients import LookAtClient, Standing
from domain.errors import Unavailable
from processes.directories import MerchantSettings

WAIT_S_MAX = 10.0
"""Longer than any resolution that is going to succeed now, and shorter than the time-outs of the SDKs."""
_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,4})\"?\s*(?:$|[,;])", re.IGNORECASE)


def with_state(call: Call[Any, Any], standing: Standing) -> Answer:
    """204, and the client state."""
    return Answer(b"", 204, headers=(state_of_call(call, standing),))


async def with_tokens(call: Call[Any, Any], standing: Standing) -> Answer:
    """200, both tokens and the client state."""
    standing, applied = await _resolved(call, standing)
    value = BothTokens(await contact_token(call, standing), standing.refresh_token)
    return Answer(value, headers=(state_of_call(call, standing), *applied))


async def with_contact_token(call: Call[Any, Any], standing: Standing) -> Answer:
    """200, the contact token alone, and the client state: a device whose state was of no use has a good one again."""
    standing, applied = await _resolved(call, standing)
    value = ContactTokenAnswer(await contact_token(call, standing))
    return Answer(value, headers=(state_of_call(call, standing), *applied))


async def news(call: Call[Any, Any]) -> tuple[Header, ...]:
    """The client's state as it is now, where the device has another or none; nothing while that can't be said."""
    standing = await standing_now(call)
    if standing is None:
        return ()
    name, state = state_of_call(call, standing)
    return () if state == call.visitor.proof.state_text.encode() else ((name, state),)


async def standing_now(call: Call[Any, Any]) -> Standing | None:
    """None: there is no such client, or nobody can say."""
    try:
        standing: Standing | None = await call.parts.bus.execute(
            LookAtClient(device=call.visitor.device), call.context
        )
    except Unavailable:
        return None
    return standing


async def contact_token(call: Call[Any, Any], standing: Standing) -> str:
    """disabled: nobody is known to use the client, and unknown people are not wanted, or may not be known again."""
    assert standing.contact is not None
    visitor: Visitor = call.visitor
    merchant = await merchant_of(call, visitor.app.realm)
    are_wanted = visitor.app.settings.anonymous_allowed and merchant.anonymous_contacts
    return call.parts.tokens.sign_contact(
        ContactToken(
            contact=standing.contact,
            realm=visitor.app.realm,
            app=visitor.app.code,
            contact_id=standing.contact_id,
            client=standing.client,
            client_id=standing.client_id,
            disabled=not standing.is_linked or (standing.identity is None and not are_wanted),
        ),
        lifetime_s=merchant.contact_token_lifetime_s,
    )


async def merchant_of(call: Call[Any, Any], realm: str) -> MerchantSettings:
    """The merchant's settings for a token; the defaults while nobody can say.

    By now all is written, and a refresh that fails has the SDK drop the call that it was for.
    """
    try:
        return await call.parts.merchants.settings(realm)
    except Unavailable:
        return MerchantSettings(merchant=realm)


async def _resolved(call: Call[Any, Any], standing: Standing) -> tuple[Standing, tuple[Header, ...]]:
    """Wait for the contact's number if the device prefers to (RFC 7240)."""
    visitor: Visitor = call.visitor
    if standing.contact is None or standing.contact_id is not None or not standing.is_linked:
        return standing, ()
    found, applied = await resolved(call, visitor.app.realm, standing.contact, visitor.headers)
    return msgspec.structs.replace(standing, contact_id=found), applied


async def resolved(
    call: Call[Any, Any], realm: str, contact: UUID, headers: Mapping[bytes, bytes]
) -> tuple[int | None, tuple[Header, ...]]:
    """The number, None if it does not come in the time that the device wants to wait; what to say of the wait."""
    wait_s = wait_of(headers.get(b"prefer", b""))
    if wait_s <= 0:
        return None, ()
    try:
        found = await call.parts.resolutions.resolved(realm, contact, wait_s)
    except Unavailable:
        return None, ()  # a wait is a preference: what was asked for is done
    return found, ((b"preference-applied", b"wait=%d" % wait_s),)


def wait_of(prefer: bytes) -> float:
    """The seconds of a Prefer header's `wait`; 0 without one."""
    found = _WAIT.search(prefer)
    return min(float(found[1]), WAIT_S_MAX) if found else 0.0


def state_of_call(call: Call[Any, Any], standing: Standing) -> Header:
    visitor: Visitor = call.visitor
    signed = call.parts.tokens.sign_state(state_of(standing), held=visitor.proof.state_text)
    return visitor.contract.state_header, signed.encode()
