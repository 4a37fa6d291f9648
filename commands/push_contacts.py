"""Commands on the push contacts of web domains: browsers and devices that a site's script registered.

A push contact is a client of the web domain's app. Its id comes from the site's name for the device alone, which is
unique over all domains, as in the original. It stays in the realm in which it was registered first; who describes it
without saying who they are does not name one.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec
from msgspec.structs import replace

from commands.addresses import tell_address
from commands.scope import Scope
from domain.client import Client
from domain.contact import Contact
from domain.errors import Conflict, Invalid, NotFound
from domain.ids import Ids

DEVICE_TOKEN_MAX = 4_096
"""Characters."""
NAME_MAX = 320
"""Characters of an e-mail address or visitor guid."""
BULK_MAX = 10_000
"""Push contacts deleted by one call."""


class PushAddress(msgspec.Struct, frozen=True):
    """Where the device is reached. identity: what tells it from others (the token, or the endpoint)."""

    channel: str
    identity: str
    address: str


class RegisterPushContact(msgspec.Struct, frozen=True, kw_only=True):
    """domain: in lower case."""

    domain: str
    device_token: str
    address: PushAddress
    email: str | None = None
    visitor: str | None = None


class SetPushAddress(msgspec.Struct, frozen=True, kw_only=True):
    device_token: str
    address: PushAddress


class SetPushEmail(msgspec.Struct, frozen=True, kw_only=True):
    device_token: str
    email: str


class SetPushVisitor(msgspec.Struct, frozen=True, kw_only=True):
    device_token: str
    visitor: str


class DeletePushContact(msgspec.Struct, frozen=True, kw_only=True):
    device_token: str


def push_contact_id(ids: Ids, device_token: str) -> UUID:
    """The id of the push contact that a site knows by this token, whatever its domain."""
    return ids.derive("", "push-contact", digest_of(device_token))


def digest_of(device_token: str) -> str:
    """A client id that does not show the token."""
    return hashlib.sha256(device_token.encode("utf-8", "surrogatepass")).hexdigest()


def visitor_uid(ids: Ids, realm: str, visitor: str) -> str:
    """The uid of the contact that a site knows by this visitor guid."""
    return f"visitor-{ids.derive(realm, 'visitor', visitor).hex}"


def anonymous_uid(client: UUID) -> str:
    return f"push-{client.hex}"


async def register_push_contact(command: RegisterPushContact, scope: Scope) -> bool:
    """Whether it was new, or deleted before. One that is there is left as it is.

    Raises Conflict for one that was deleted in another realm.
    """
    _assert_token(command.device_token)
    for name, field in ((command.email, "email"), (command.visitor, "visitorGuid")):
        if name is not None and len(name) > NAME_MAX:
            raise Invalid(f"use at most {NAME_MAX} characters", field=field)
    id = push_contact_id(scope.ids, command.device_token)
    client = await scope.load(Client, id)
    if client is not None and client.token is not None:
        return False
    if client is not None and not await scope.is_of_realm(client):
        raise Conflict("'deviceToken' was registered in another realm; use another one", field="deviceToken")
    contact = await _contact(scope, id, command.visitor)
    if contact is None:
        return False
    if client is None:
        client = _enrolled(command, scope, id, contact)
    else:
        await _revive(client, command, contact, scope)
    await scope.save(contact, client)
    return True


async def _revive(client: Client, command: RegisterPushContact, contact: Contact, scope: Scope) -> None:
    """One that was deleted, perhaps at another domain, which then keeps nothing of it but that it was there."""
    if client.app != command.domain:
        client.leave(at=scope.now, code="moved")
    client.link(at=scope.now, contact=contact.id, uid=contact.uid)
    client.introduce(
        at=scope.now,
        app=command.domain,
        device_token=command.device_token,
        email=command.email,
        visitor=command.visitor,
    )
    await _set_address(client, command.address, scope)


async def set_push_address(command: SetPushAddress, scope: Scope) -> str:
    """The realm that it is in. Raises NotFound for a token that nobody has, or whose push contact is deleted."""
    client = await scope.load(Client, push_contact_id(scope.ids, command.device_token))
    if client is None or client.token is None:
        raise NotFound("Unexistent 'deviceToken'", field="deviceToken")
    home = await _at_home(scope, client)
    await _set_address(client, command.address, home)
    await home.save(client)
    return home.realm


async def set_push_email(command: SetPushEmail, scope: Scope) -> str:
    """The realm that it is in. A blank address takes away the one that is known; nothing happens, "", for a token that
    nobody has registered.
    """
    email = command.email if command.email.strip() else None
    if email is not None:
        _assert_name(email, "email")
    client = await scope.load(Client, push_contact_id(scope.ids, command.device_token))
    if client is None:
        return ""
    home = await _at_home(scope, client)
    client.set_email(at=scope.now, email=email)
    await home.save(client)
    return home.realm


async def set_push_visitor(command: SetPushVisitor, scope: Scope) -> None:
    """Nothing happens for a token that nobody in the realm has registered, nor for a visitor who was erased."""
    _assert_name(command.visitor, "visitorGuid")
    client = await scope.load(Client, push_contact_id(scope.ids, command.device_token))
    if client is None or not await scope.is_of_realm(client):
        return
    contact = await _contact(scope, client.id, command.visitor)
    if contact is not None:
        client.link(at=scope.now, contact=contact.id, uid=contact.uid)
        client.set_visitor(at=scope.now, device_token=command.device_token, visitor=command.visitor)
        await scope.save(contact, client)


async def delete_push_contact(command: DeletePushContact, scope: Scope) -> bool:
    """Whether there was one in the realm."""
    client = await scope.load(Client, push_contact_id(scope.ids, command.device_token))
    if client is None or client.token is None or not await scope.is_of_realm(client):
        return False
    client.retire_address(at=scope.now, code="deleted")
    await scope.save(client)
    return True


def _enrolled(command: RegisterPushContact, scope: Scope, id: UUID, contact: Contact) -> Client:
    to = command.address
    return Client.enroll(
        id=id,
        at=scope.now,
        app=command.domain,
        client_id=digest_of(command.device_token),
        contact=contact.id,
        uid=contact.uid,
        channel=to.channel,
        address=to.address,
        token=scope.ids.token(scope.realm, to.channel, to.identity),
        device_token=command.device_token,
        email=command.email,
        visitor=command.visitor,
    )


async def _set_address(client: Client, to: PushAddress, scope: Scope) -> None:
    await tell_address(client, scope, channel=to.channel, identity=to.identity, address=to.address)


async def _contact(scope: Scope, client: UUID, visitor: str | None) -> Contact | None:
    """The visitor's contact, or one for the device alone; None when that person was erased."""
    uid = visitor_uid(scope.ids, scope.realm, visitor) if visitor else anonymous_uid(client)
    id = scope.ids.contact(scope.realm, uid)
    contact = await scope.load(Contact, id)
    if contact is None:
        return Contact.create(id=id, at=scope.now, uid=uid)
    return None if contact.erased else contact


async def _at_home(scope: Scope, client: Client) -> Scope:
    """The same in the realm of the push contact."""
    realm = await scope.store.realm_of(Client, client.id) or scope.realm
    return replace(scope, context=replace(scope.context, realm=realm))


def _assert_token(device_token: str) -> None:
    if not 1 <= len(device_token) <= DEVICE_TOKEN_MAX:
        raise Invalid(f"deviceToken has 1 to {DEVICE_TOKEN_MAX:,} characters", field="deviceToken")


def _assert_name(name: str, field: str) -> None:
    if not name.strip() or len(name) > NAME_MAX:
        raise Invalid(f"use 1 to {NAME_MAX} characters", field=field)
