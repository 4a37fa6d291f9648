"""The numbers of contacts, where we ourselves are the directory: one for each key, for ever, none given twice.

Candidates follow from the key, so a repeated call finds the number that the first one took. Whose a number is, the
log decides: its first event has the expected sequence 0.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.scope import Scope
from domain.contact_number import ContactNumber
from domain.errors import MsgxcError
from domain.ids import Ids

NUMBER_MAX = 2**53 - 1
"""The largest that every reader of JSON takes exactly."""
CANDIDATES_MAX = 32
"""With a billion contacts in a realm, each candidate is taken with a chance of one in ten million."""


class NumberContact(msgspec.Struct, frozen=True, kw_only=True):
    """key: what names the contact, in the realm. It is not kept."""

    key: str


async def number_contact(command: NumberContact, scope: Scope) -> int:
    """The contact's number, the same on each call. Numbers taken by others are passed over, for ever."""
    owner = scope.ids.derive(scope.realm, "contact-key", command.key)
    for attempt in range(CANDIDATES_MAX):
        number = candidate(scope.ids, owner, attempt)
        id = number_id(scope.ids, scope.realm, number)
        taken = await scope.load(ContactNumber, id)
        if taken is None:
            await scope.save(ContactNumber.take(id=id, at=scope.now, number=number, owner=owner))
            return number
        if taken.owner == owner:
            return number
    raise MsgxcError("the contact's numbers are all taken")


def candidate(ids: Ids, owner: UUID, attempt: int) -> int:
    """1 to NUMBER_MAX. The last 62 bits of our ids are random, its first ones partly fixed."""
    return (ids.derive("", "contact-number", f"{owner.hex}|{attempt}").int & NUMBER_MAX) or NUMBER_MAX


def number_id(ids: Ids, realm: str, number: int) -> UUID:
    return ids.derive(realm, "contact-number", str(number))
