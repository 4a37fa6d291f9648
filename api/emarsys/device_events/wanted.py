"""What nobody wants to be told: by the device of somebody who was erased, or of nobody known where strangers are not
wanted.

Decided early, of what the device has proved, the settings of its app and its merchant as they are now, and what is
remembered of erasures: no contact token says it, or has to be there to say it. Never reads a read model.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from api.emarsys.answers import merchant_of, standing_now, state_of_call
from api.emarsys.door import Visitor
from api.emarsys.identity.proofs import Proof
from api.emarsys.interactions import Reason, drop
from api.route import Answer, Call, Header
from domain.errors import Unavailable


async def unwanted(call: Call[Any, Any]) -> Reason | None:
    """Why nobody wants what the call tells; None: it is to be taken."""
    # Hot path: asked of every batch of device events; what there is to know is nearly always in memory.
    proof: Proof = call.visitor.proof
    contact, token = proof.whose, proof.contact
    if contact is not None:
        is_removed = call.parts.removals.known(contact)
        if is_removed or (is_removed is None and await _is_removed(call, contact)):
            return "contact-erased"
    if not proof.is_of_nobody_known:
        return "contact-disabled" if token is not None and token.disabled else None
    # Whatever a token says that was given under other settings: it is good for hours.
    settings = call.visitor.app.settings
    if not settings.anonymous_allowed:
        return "anonymous-unwanted"
    merchant = call.parts.merchants.known(settings.merchant)
    if not (merchant or await merchant_of(call, settings.merchant)).anonymous_contacts:
        return "anonymous-unwanted"
    return None


async def dropped(call: Call[Any, Any], reason: Reason, *, items: int) -> Answer:
    """204, since the device is not to send it again; whose contact is gone is told so by a state of who came since."""
    drop(call, reason, items=items)
    return Answer(b"", 204, headers=await _state_since(call) if reason == "contact-erased" else ())


async def _is_removed(call: Call[Any, Any], contact: UUID) -> bool:
    """False while nobody can say: what happened would be lost, and in vain for nearly everybody."""
    try:
        return await call.parts.removals.is_removed(contact)
    except Unavailable:
        return False


async def _state_since(call: Call[Any, Any]) -> tuple[Header, ...]:
    """Of the contact that the client has now; of nobody, if that is the erased one still, or nobody can say."""
    visitor: Visitor = call.visitor
    if visitor.state is None:
        return ()
    standing = await standing_now(call)
    if standing is not None and standing.contact != visitor.proof.whose:
        return (state_of_call(call, standing),)
    state = replace(visitor.state, contact_field=UNSET, contact=None, contact_id=None)
    signed = call.parts.tokens.sign_state(state, held=visitor.proof.state_text)
    return ((visitor.contract.state_header, signed.encode()),)
