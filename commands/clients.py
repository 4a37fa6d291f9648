"""Commands on clients: applications on devices and browsers, and their push addresses."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commands.addresses import tell_address
from commands.contacts import assert_uid
from commands.scope import Scope
from domain.client import Client
from domain.contact import Contact
from domain.deliveries.channel import APNS, FCM, WEBPUSH
from domain.errors import Conflict, Invalid, NotFound

APP = "msgxc"
"""The app that devices enlisted by token alone belong to."""
ADDRESS_MAX = 4_096
"""Bytes of a push token or subscription; the longest seen in the wild is about 1 kB."""
ERASED = "erased"
"""Why a client lost its address: its contact was erased."""


class Enlist(msgspec.Struct, frozen=True, kw_only=True):
    """A device that is known by its push address alone.

    identity: what tells two devices apart (the token, or the web-push endpoint); address: all that is needed to
    send to it (the token, or the subscription as JSON).
    """

    uid: str
    channel: str
    identity: str
    address: str
    properties: dict[str, Any] = {}


class ForgetClient(msgspec.Struct, frozen=True, kw_only=True):
    """Take one of a contact's devices away."""

    uid: str
    client: UUID


class FindAddressGone(msgspec.Struct, frozen=True, kw_only=True):
    """A provider said that a client's address is dead since `since`; confirm: believe it the second time.

    tried_at: of the try that it answered, None: at `since`.
    """

    client: UUID
    token: UUID | None
    code: str
    since: datetime
    tried_at: datetime | None = None
    confirm: bool = False


class QuarantineAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A provider doubts a client's address, but not that somebody has it."""

    client: UUID
    token: UUID | None
    code: str


class LoseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Another client has set the token that this one had set in its event with `version`."""

    client: UUID
    token: UUID
    version: int


class Unlink(msgspec.Struct, frozen=True, kw_only=True):
    """Take a client from the contact it belongs to; for the erasure of a contact."""

    client: UUID
    contact: UUID


async def enlist(command: Enlist, scope: Scope) -> UUID:
    """The client's id. The same device again is the same client; a token of another contact changes hands."""
    _assert_valid(command)
    contact_id = scope.ids.contact(scope.realm, command.uid)
    token = scope.ids.token(scope.realm, command.channel, command.identity)
    id = scope.ids.client(scope.realm, APP, token.hex)
    contact = await scope.load(Contact, contact_id)
    if contact is None:
        contact = Contact.create(id=contact_id, at=scope.now, uid=command.uid)
    elif contact.erased:
        raise Conflict("this contact was erased for good; use another uid", field="uid")
    client = await scope.load(Client, id)
    if client is None:
        client = Client.register(
            id=id,
            at=scope.now,
            app=APP,
            client_id=token.hex,
            contact=contact_id,
            uid=command.uid,
            channel=command.channel,
            address=command.address,
            token=token,
            properties=command.properties,
        )
    else:
        client.link(at=scope.now, contact=contact_id, uid=command.uid)
        await tell_address(
            client, scope, channel=command.channel, identity=command.identity, address=command.address
        )
    await scope.save(contact, client, answer=id)
    return id


async def forget_client(command: ForgetClient, scope: Scope) -> None:
    client = await scope.load(Client, command.client)
    if client is None or client.contact != scope.ids.contact(scope.realm, command.uid):
        raise NotFound("you have no such device", field="client")
    client.leave(at=scope.now, code="forgotten")
    await scope.save(client)


async def find_address_gone(command: FindAddressGone, scope: Scope) -> None:
    client = await _known(command.client, scope)
    client.find_gone(
        at=scope.now,
        token=command.token,
        code=command.code,
        since=command.since,
        tried_at=command.tried_at or command.since,
        confirm=command.confirm,
    )
    await scope.save(client)


async def quarantine_address(command: QuarantineAddress, scope: Scope) -> None:
    client = await _known(command.client, scope)
    client.quarantine(at=scope.now, token=command.token, code=command.code)
    await scope.save(client)


async def lose_address(command: LoseAddress, scope: Scope) -> None:
    client = await _known(command.client, scope)
    client.lose_address(at=scope.now, token=command.token, version=command.version)
    await scope.save(client)


async def unlink(command: Unlink, scope: Scope) -> None:
    client = await scope.load(Client, command.client)
    if client is None or client.contact != command.contact:
        return
    client.leave(at=scope.now, code=ERASED)
    await scope.save(client)


def _assert_valid(command: Enlist) -> None:
    assert_uid(command.uid)
    if command.channel not in (APNS, FCM, WEBPUSH):
        raise Invalid("a device is reached by apns, fcm or webpush", field="os")
    if not command.address or len(command.address.encode()) > ADDRESS_MAX:
        raise Invalid(f"an address has 1 to {ADDRESS_MAX:,} bytes", field="token")


async def _known(id: UUID, scope: Scope) -> Client:
    client = await scope.load(Client, id)
    if client is None:
        raise NotFound("no such client")
    return client
