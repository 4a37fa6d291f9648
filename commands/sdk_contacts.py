"""Commands of devices on who uses them: identified, anonymous, signed out, refreshed; and of callers without an app.

Never looks a contact's number up: that is done later, by processes on the log.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.refresh import NOT_GOOD, next_appless_token, use_moved_token, use_token
from commands.scope import Scope
from commands.sdk_clients import Device, Standing, anonymous, link, own_client, signed_in, standing_of
from domain.client import Client
from domain.contact import Contact, Identity
from domain.errors import Conflict, Invalid
from domain.people.resolution import field_uid
from domain.refresh_family import RefreshRefused

LIVES_MAX = 100
"""Erasures of one contact field's value; each costs a look at every sign-in, and nobody is erased so often."""
VALUE_MAX = 255
"""Characters of a contact field's value: the longest that a suite's fields take, and a client state has room for."""


class IdentifyContact(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody signed in on the device."""

    device: Device
    identity: Identity


class MakeAnonymous(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever uses the device is not known (any more)."""

    device: Device


class RefreshContact(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token for news of the client and its contact. It is the proof; the token itself stays good."""

    token: str
    app: str
    client_id: str


class IdentifyAppless(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody signed in where there is no app. family: of the refresh tokens that the caller is known to hold."""

    identity: Identity
    family: UUID | None = None


class RefreshAppless(msgspec.Struct, frozen=True, kw_only=True):
    token: str


class Appless(msgspec.Struct, frozen=True, kw_only=True):
    """How a contact without a client stands. family: of its refresh tokens. refresh_token: "" unless one was issued."""

    contact: UUID
    family: UUID
    contact_id: int | None
    refresh_token: str = ""


async def identify_contact(command: IdentifyContact, scope: Scope) -> Standing:
    client = await own_client(command.device, scope)
    contact = await _identified(command.identity, scope, app=client.app)
    return await signed_in(client, scope, contact=contact)


async def make_anonymous(command: MakeAnonymous, scope: Scope) -> Standing:
    client = await own_client(command.device, scope)
    return await signed_in(client, scope, contact=await anonymous(client, scope))


async def refresh_contact(command: RefreshContact, scope: Scope) -> Standing:
    """Raises RefreshRefused."""
    client, contact = await _holder(command, scope)
    if client is None or client.client_id != command.client_id:
        raise RefreshRefused("this refresh token is another client's", field="refreshToken")
    if contact is None or contact.erased:
        # Nobody in particular uses the client any more; why, is not said.
        contact = await anonymous(client, scope)
        link(client, contact, scope)
        await scope.save(client, contact)
    return standing_of(client, contact)


async def _holder(command: RefreshContact, scope: Scope) -> tuple[Client | None, Contact | None]:
    """Whose device the token is for, and whom it is for. Raises RefreshRefused."""
    client = await use_moved_token(scope, text=command.token, app=command.app)
    known = client.contact if client is not None else None
    if client is None:
        family = await use_token(scope, text=command.token, app=command.app)
        client = await scope.load_from_leader(Client, family.client) if family.client else None
        known = (client.contact if client is not None else None) or family.contact
    return client, await scope.load_from_leader(Contact, known) if known is not None else None


async def identify_appless(command: IdentifyAppless, scope: Scope) -> Appless:
    contact = await _identified(command.identity, scope, app="")
    issued = await next_appless_token(scope, contact=contact.id, held=command.family)
    await scope.save(contact, *issued.changed)
    return _appless(contact, issued.token.family, issued.token.text)


async def refresh_appless(command: RefreshAppless, scope: Scope) -> Appless:
    """Raises RefreshRefused."""
    family = await use_token(scope, text=command.token, app="")
    contact = await scope.load_from_leader(Contact, family.contact)
    if contact is None or contact.erased:
        raise RefreshRefused(NOT_GOOD, field="refreshToken")
    return _appless(contact, family.id)


async def _identified(identity: Identity, scope: Scope, *, app: str) -> Contact:
    """The contact of that name. One that was erased stays so: who says the name again is somebody new, as anybody who
    was never known would be. A name is anybody's word, so the answer must not tell who was erased (ADR 71).
    """
    if not 1 <= len(identity.value) <= VALUE_MAX:
        raise Invalid(f"1 to {VALUE_MAX} characters", field="contactFieldValue")
    for life in range(LIVES_MAX):
        uid = field_uid(
            scope.ids, scope.realm, identity.field, identity.value, encrypted=identity.encrypted, life=life
        )
        id = scope.ids.contact(scope.realm, uid)
        contact = await scope.load(Contact, id) or Contact.create(id=id, at=scope.now, uid=uid)
        if not contact.erased:
            contact.identify(
                at=scope.now,
                field=identity.field,
                value=identity.value,
                encrypted=identity.encrypted,
                app=app,
            )
            return contact
    raise Conflict("whoever is meant cannot be known here any more", field="contactFieldValue")


def _appless(contact: Contact, family: UUID, refresh_token: str = "") -> Appless:
    return Appless(
        contact=contact.id,
        family=family,
        contact_id=contact.contact_id,
        refresh_token=refresh_token,
    )
