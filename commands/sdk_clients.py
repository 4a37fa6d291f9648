"""Commands of devices on their own client: register, push token, move to another app. Contacts: see sdk_contacts.

A device is the client that its client state (or contact token) proves; without a proof it is a new one, whatever
client id it names. So nothing of an older client with the same id is shown or changed.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from commands.addresses import has_lost, tell_address
from commands.refresh import end_tokens, next_token
from commands.scope import Scope
from domain.aggregate import Aggregate, Created
from domain.client import CLEARED, Client
from domain.contact import Contact, Identity
from domain.devices.push_token import push_address
from domain.errors import Unauthenticated
from domain.people.resolution import anonymous_uid
from domain.refresh_family import MOVED


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. client: our id of it, None without a proof.

    contact, identity, properties: what its client state says; identity None: anonymous.
    """

    app: str
    client_id: str
    client: UUID | None = None
    contact: UUID | None = None
    identity: Identity | None = None
    properties: dict[str, Any] = {}


class RegisterClient(msgspec.Struct, frozen=True, kw_only=True):
    """with_contact: give it an anonymous contact if it has none, and tokens."""

    device: Device
    properties: dict[str, Any]
    with_contact: bool = False


class SetPushToken(msgspec.Struct, frozen=True, kw_only=True):
    """token: as the device has it; a browser's is its subscription as JSON."""

    device: Device
    token: str


class ClearPushToken(msgspec.Struct, frozen=True, kw_only=True):
    device: Device


class LookAtClient(msgspec.Struct, frozen=True, kw_only=True):
    """How the device's client stands now; answers None where there is no such client. Changes nothing."""

    device: Device


class MoveIn(msgspec.Struct, frozen=True, kw_only=True):
    """The device, which was the client `source` elsewhere, is a client of this app from now on. The same again is the
    same client.

    Within a merchant `source` is put back to the beginning in the same step, and keeps_contact: who uses the device is
    the same as before. from_abroad: it may come from another merchant, where MoveOut does the rest. Its properties and
    its push token go along either way: the SDK (v4) does not tell them again.
    """

    device: Device
    source: UUID
    with_contact: bool = False
    keeps_contact: bool = False
    from_abroad: bool = False


class MoveOut(msgspec.Struct, frozen=True, kw_only=True):
    """The device went on as `client` of the app `to`, in another realm."""

    device: Device
    to: str
    client: UUID


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a client stands after a command: all that its client state and its contact token say.

    contact: who the contact token is for. is_linked: False when the client is nobody's, so that the token is worth
    nothing. identity None: anonymous. refresh_token: "" unless one was issued.
    """

    client: UUID
    client_id: str
    app: str
    properties: dict[str, Any]
    has_push_token: bool
    contact: UUID | None
    is_linked: bool
    identity: Identity | None
    contact_id: int | None
    refresh_token: str = ""


async def register_client(command: RegisterClient, scope: Scope) -> Standing:
    """Without a proof and a contact this is one event, and nothing is read for it."""
    device, properties = command.device, command.properties
    if device.client is None:
        client = _new_client(device, scope, properties)
        if command.with_contact:
            return await signed_in(client, scope)
        await scope.create(client)
        return standing_of(client, None)
    client = await own_client(device, scope, properties)
    client.change_properties(at=scope.now, properties=properties)
    await _address_anew(client, scope)
    if command.with_contact:
        return await signed_in(client, scope)
    await scope.save(client)
    return await standing(device, client, scope)


async def set_push_token(command: SetPushToken, scope: Scope) -> Standing:
    client = await own_client(command.device, scope)
    to = push_address(command.token, _platform(client))
    await tell_address(client, scope, channel=to.channel, identity=to.identity, address=to.address)
    await scope.save(client)
    return await standing(command.device, client, scope)


async def clear_push_token(command: ClearPushToken, scope: Scope) -> Standing:
    client = await own_client(command.device, scope)
    client.retire_address(at=scope.now, code=CLEARED)
    await scope.save(client)
    return await standing(command.device, client, scope)


async def look_at_client(command: LookAtClient, scope: Scope) -> Standing | None:
    device = command.device
    client = await scope.load_from_leader(Client, device.client) if device.client is not None else None
    if client is None or not _is(client, device):
        return None
    return await standing(device, client, scope)


async def move_in(command: MoveIn, scope: Scope) -> Standing:
    device, changed = command.device, list[Aggregate]()
    # Named by where it comes from: a repeat finds it, and nobody else comes to it.
    id = scope.ids.client(scope.realm, device.app, f"{device.client_id}#{command.source.hex}")
    source = await scope.load(Client, command.source)
    is_within = source is None or await scope.is_of_realm(source)
    if not is_within and not command.from_abroad:
        raise Unauthenticated("this client state is another merchant's")
    properties = source.properties if source is not None else {}
    client = await scope.load(Client, id) or _registered(device, id, scope, properties)
    if source is not None and is_within and command.keeps_contact:
        await _take_contact(client, source, scope)
    if source is not None:
        await _take_address(client, source, scope)
    if source is not None and is_within:
        changed = await _reset(source, device.app, id, scope)
    if command.with_contact:
        return await signed_in(client, scope, *changed)
    await scope.save(client, *changed)
    return await standing(device, client, scope)


async def move_out(command: MoveOut, scope: Scope) -> None:
    source = await own_client(command.device, scope)
    await scope.save(*await _reset(source, command.to, command.client, scope))


async def own_client(device: Device, scope: Scope, properties: dict[str, Any] | None = None) -> Client:
    """The device's client; a new one without a proof. properties: a new one's, if not what its state says."""
    given = device.properties if properties is None else properties
    if device.client is not None:
        client = await scope.load(Client, device.client)
        if client is not None and not _is(client, device):
            raise Unauthenticated("the token is another client's")
        # A proof whose client is not there is of a log that was restored to an earlier day: the device goes on.
        return client or _registered(device, device.client, scope, given)
    return _new_client(device, scope, given)


def _new_client(device: Device, scope: Scope, properties: dict[str, Any]) -> Client:
    # Nothing is read for the first of an id: the log itself refuses a second beginning. The next try makes its own.
    name = f"{device.client_id}#{scope.nonce()}" if scope.fresh else device.client_id
    return _registered(device, scope.ids.client(scope.context.realm, device.app, name), scope, properties)


def _is(client: Client, device: Device) -> bool:
    return (client.client_id, client.app.casefold()) == (device.client_id, device.app.casefold())


async def signed_in(
    client: Client, scope: Scope, *changed: Aggregate, contact: Contact | None = None
) -> Standing:
    """Link the client with `contact` (None: the one it has, else an anonymous one), and issue its next token.

    Where that is the anonymous one and erased, the client is nobody's.
    """
    if contact is None:
        contact = await _own_contact(client, scope)
    _link_with_number(client, contact, scope)
    issued = await next_token(scope, client=client, contact=contact.id)
    await scope.save(client, contact, *issued.changed, *changed)
    return standing_of(client, contact, refresh_token=issued.token.text)


def link(client: Client, contact: Contact, scope: Scope) -> None:
    """The client is the contact's from now on; nobody's, if that one was erased: it is never linked again."""
    gone = contact.erased
    client.link(at=scope.now, contact=None if gone else contact.id, uid=None if gone else contact.uid)


def _link_with_number(client: Client, contact: Contact, scope: Scope) -> None:
    link(client, contact, scope)
    if contact.contact_id is not None and not contact.erased:
        client.note_contact_id(
            at=scope.now, contact=contact.id, contact_id=contact.contact_id, of=contact.resolved_of
        )


async def standing(device: Device, client: Client, scope: Scope) -> Standing:
    """The same without signing in: the contact is read only when the device's state does not name it."""
    if client.contact is not None and client.contact != device.contact:
        return standing_of(client, await scope.load_from_leader(Contact, client.contact))
    if client.contact is None:
        return standing_of(client, None)
    return msgspec.structs.replace(
        standing_of(client, None),
        contact=client.contact,
        is_linked=True,
        identity=device.identity,
        contact_id=client.contact_id,
    )


async def anonymous(client: Client, scope: Scope) -> Contact:
    """Whoever has the client: one contact, however often it is asked for."""
    uid = anonymous_uid(client.id)
    id = scope.ids.contact(scope.realm, uid)
    # The contact of a client that begins now is not there; should it be, the log refuses, and the next try looks.
    is_new = any(isinstance(event, Created) for event in client.pending_events)
    found = None if is_new and not scope.fresh else await scope.load(Contact, id)
    return found or Contact.create(id=id, at=scope.now, uid=uid)


async def _own_contact(client: Client, scope: Scope) -> Contact:
    found = await scope.load(Contact, client.contact) if client.contact is not None else None
    if found is not None and found.erased:
        found = None
    return found or await anonymous(client, scope)


async def _take_contact(client: Client, source: Client, scope: Scope) -> None:
    """Whoever used it. Once it was taken `source` has none, so that a repeat takes nobody's place."""
    contact = await scope.load(Contact, source.contact) if source.contact is not None else None
    if contact is None or contact.erased:
        return
    _link_with_number(client, contact, scope)


async def _take_address(client: Client, source: Client, scope: Scope) -> None:
    """It is the same device, and its SDK (v4) does not tell its push token again after a move.

    One that went to another client meanwhile stays there: nobody has told it again.
    """
    if source.token is None or source.address is None:
        return
    if await has_lost(source, source.token, scope, realm=await scope.store.realm_of(Client, source.id)):
        return
    to = push_address(source.address, _platform(source))
    to = to._replace(channel=source.channel or to.channel)
    # A digest of its realm's own: that of another merchant would be one that no other client here can have.
    token = scope.ids.token(scope.realm, to.channel, to.identity)
    # A device that went on before may have told it as `source` again, when the answer to that was lost.
    is_lost = client.token == token and await has_lost(client, token, scope)
    client.set_address(at=scope.now, channel=to.channel, address=to.address, token=token, is_lost=is_lost)


async def _address_anew(client: Client, scope: Scope) -> None:
    """The platform says who carries the pushes; the token may have come before it, or it may have been another."""
    platform = _platform(client)
    if client.token is None or client.address is None or not platform:
        return
    to = push_address(client.address, platform)
    if to.channel != client.channel and not await has_lost(client, client.token, scope):
        token = scope.ids.token(scope.realm, to.channel, to.identity)
        client.set_address(at=scope.now, channel=to.channel, address=to.address, token=token)


def _platform(client: Client) -> str:
    """As the device registered it; "" when it has not yet."""
    platform = client.properties.get("platform")
    return platform if isinstance(platform, str) else ""


async def _reset(source: Client, to: str, client: UUID, scope: Scope) -> list[Aggregate]:
    source.move(at=scope.now, to=to, client=client)
    return [source, *await end_tokens(scope, client=source, reason=MOVED)]


def _registered(device: Device, id: UUID, scope: Scope, properties: dict[str, Any]) -> Client:
    return Client.register(
        id=id, at=scope.now, app=device.app, client_id=device.client_id, properties=properties
    )


def standing_of(client: Client, contact: Contact | None, refresh_token: str = "") -> Standing:
    linked = contact is not None and client.contact == contact.id
    return Standing(
        client=client.id,
        client_id=client.client_id,
        app=client.app,
        properties=client.properties,
        has_push_token=client.token is not None,
        contact=contact.id if contact else None,
        is_linked=linked,
        identity=contact.identity if contact and linked else None,
        contact_id=contact.contact_id if contact and linked else None,
        refresh_token=refresh_token,
    )
