"""Commands on contacts: who they are, how they may be reached, and that they be forgotten."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from commands.scope import Scope
from domain.contact import Contact
from domain.deliveries.channel import EMAIL, SMS
from domain.errors import Invalid, NotFound
from domain.subscription import Subscription

UID_MAX = 256
"""Characters of a contact's outside id."""


class PutContact(msgspec.Struct, frozen=True, kw_only=True):
    """Create or change; a field left UNSET stays as it is, "" takes an address away.

    email and cell are already in their canonical form (the API normalizes them). channels None: any.
    """

    uid: str
    email: str | msgspec.UnsetType = msgspec.UNSET
    cell: str | msgspec.UnsetType = msgspec.UNSET
    locale: str | msgspec.UnsetType = msgspec.UNSET
    time_zone: str | msgspec.UnsetType = msgspec.UNSET
    channels: tuple[str, ...] | None | msgspec.UnsetType = msgspec.UNSET


class EraseContact(msgspec.Struct, frozen=True, kw_only=True):
    uid: str


class FindContactAddressGone(msgspec.Struct, frozen=True, kw_only=True):
    contact: UUID
    channel: str
    code: str
    since: datetime


class SuppressChannel(msgspec.Struct, frozen=True, kw_only=True):
    """address: only while it is the contact's, for what was said of that address; "": whatever it is. said_at: when the
    person said so, where that is known: reports may come late and in any order, and the last word holds.
    """

    contact: UUID
    channel: str
    code: str
    address: str = ""
    said_at: datetime | None = None


class DoubtContactAddress(msgspec.Struct, frozen=True, kw_only=True):
    """report: the provider's name for the message that did not arrive, or ours; each counts once. address: as for
    SuppressChannel; since: only if the contact has had its address since then, for when it is known no better.
    """

    contact: UUID
    channel: str
    code: str
    report: str
    address: str = ""
    since: datetime | None = None


class RestoreChannel(msgspec.Struct, frozen=True, kw_only=True):
    """address, said_at: as for SuppressChannel."""

    contact: UUID
    channel: str
    address: str = ""
    said_at: datetime | None = None


class EndSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """End one membership by its ids; for the erasure of a contact."""

    thread: UUID
    contact: UUID


async def put_contact(command: PutContact, scope: Scope) -> bool:
    """Whether the contact is new."""
    assert_uid(command.uid)
    id = scope.ids.contact(scope.realm, command.uid)
    contact = await scope.load(Contact, id)
    created = contact is None
    if contact is None:
        contact = Contact.create(id=id, at=scope.now, uid=command.uid)
    for channel, address in ((EMAIL, command.email), (SMS, command.cell)):
        if address is not msgspec.UNSET:
            token = scope.ids.own_token(scope.realm, channel, address)
            contact.set_address(at=scope.now, channel=channel, address=address, token=token)
    contact.set_preferences(
        at=scope.now,
        channels=contact.channels if command.channels is msgspec.UNSET else command.channels,
        locale=contact.locale if command.locale is msgspec.UNSET else command.locale,
        time_zone=contact.time_zone if command.time_zone is msgspec.UNSET else command.time_zone,
    )
    await scope.save(contact)
    return created


async def erase_contact(command: EraseContact, scope: Scope) -> None:
    contact = await scope.load(Contact, scope.ids.contact(scope.realm, command.uid))
    if contact is None:
        raise NotFound(f"no contact has the uid {command.uid!r}", field="uid")
    contact.erase(at=scope.now)
    await scope.save(contact)


async def find_contact_address_gone(command: FindContactAddressGone, scope: Scope) -> None:
    contact = await _contact(command.contact, scope)
    contact.retire_address(at=scope.now, channel=command.channel, code=command.code, since=command.since)
    await scope.save(contact)


async def suppress_channel(command: SuppressChannel, scope: Scope) -> None:
    contact = await _contact(command.contact, scope)
    token = _token(command.channel, command.address, scope)
    contact.suppress(
        at=scope.now, channel=command.channel, code=command.code, token=token, said_at=command.said_at
    )
    await scope.save(contact)


async def doubt_contact_address(command: DoubtContactAddress, scope: Scope) -> None:
    contact = await _contact(command.contact, scope)
    contact.doubt_address(
        at=scope.now,
        channel=command.channel,
        code=command.code,
        token=_token(command.channel, command.address, scope),
        report=command.report,
        since=command.since,
    )
    await scope.save(contact)


async def restore_channel(command: RestoreChannel, scope: Scope) -> None:
    contact = await _contact(command.contact, scope)
    token = _token(command.channel, command.address, scope)
    contact.restore(at=scope.now, channel=command.channel, token=token, said_at=command.said_at)
    await scope.save(contact)


async def end_subscription(command: EndSubscription, scope: Scope) -> None:
    id = scope.ids.subscription(scope.realm, command.thread, command.contact)
    subscription = await scope.load(Subscription, id)
    if subscription is not None:
        subscription.end(at=scope.now)
        await scope.save(subscription)


def _token(channel: str, address: str, scope: Scope) -> UUID | None:
    return scope.ids.own_token(scope.realm, channel, address) if address else None


async def _contact(id: UUID, scope: Scope) -> Contact:
    contact = await scope.load(Contact, id)
    if contact is None:
        raise NotFound("no such contact")
    return contact


def assert_uid(uid: str) -> None:
    if not 1 <= len(uid) <= UID_MAX or not uid.isprintable():
        raise Invalid(f"use 1 to {UID_MAX} printable characters", field="uid")
