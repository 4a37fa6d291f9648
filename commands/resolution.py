"""Commands of the resolution of contacts: the contact data's numbers, on contacts and on their clients.

Guarded by the position of the change that a number was asked for: an answer that comes late, or twice, never takes the
place of a newer one's.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.clients import ERASED
from commands.scope import Scope
from domain.client import Client
from domain.contact import Contact
from domain.errors import NotFound


class ResolveContact(msgspec.Struct, frozen=True, kw_only=True):
    """The contact data has found a number for the change at position `of`."""

    contact: UUID
    contact_id: int
    of: int


class MendClient(msgspec.Struct, frozen=True, kw_only=True):
    """Make what a client says agree with its contact."""

    client: UUID


async def resolve_contact(command: ResolveContact, scope: Scope) -> bool:
    """Whether this answer was new."""
    contact = await scope.load(Contact, command.contact)
    if contact is None:
        raise NotFound("no such contact")
    contact.resolve(at=scope.now, contact_id=command.contact_id, of=command.of)
    return await scope.save(contact) > 0


async def mend_client(command: MendClient, scope: Scope) -> bool:
    """Whether anything had to be mended.

    One of an erased contact loses it with its address, as at the erasure; one that lacks its contact's number gets it.
    One whose contact is yet to be stored has nothing to agree with.
    """
    # An append would tell of a client that was behind, but not of its contact.
    client = await scope.load_from_leader(Client, command.client)
    known = client.contact if client is not None else None
    contact = await scope.load_from_leader(Contact, known) if known is not None else None
    if client is None or contact is None:
        return False
    if contact.erased:
        client.leave(at=scope.now, code=ERASED)
    elif contact.contact_id is not None:
        client.note_contact_id(
            at=scope.now, contact=contact.id, contact_id=contact.contact_id, of=contact.resolved_of
        )
    return await scope.save(client) > 0
