"""Whose the personal fields in a client's events are: they are sealed by its owner's key, and gone with that."""

from __future__ import annotations

from uuid import UUID

from domain.aggregate import KeyOwner


class ContactOwned:
    """Of an event that says whose its client is: the contact's, or the client's own while it is nobody's."""

    contact: UUID | None
    originator_id: UUID

    def key_owner(self) -> KeyOwner | None:
        if self.contact:
            return KeyOwner("contact", self.contact)
        return KeyOwner("client", self.originator_id)
