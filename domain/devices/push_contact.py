"""A push contact of a web domain: a client of whom a site has told how it calls the device, and who uses it.

Owns what the site has said, and what the events that say so have in them. When they happen is the client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from domain.devices.ownership import ContactOwned


class PushContact(NamedTuple):
    """email: the mail address that the site has for whoever uses the device. visitor: its name for them."""

    email: str | None = None
    visitor: str | None = None


class _Client(Protocol):
    app: str
    push_contact: PushContact | None


@dataclass(frozen=True, kw_only=True)
class Described(ContactOwned):
    """Of an event that tells all. device_token: the site's name for the device. app: whose it is now."""

    contact: UUID | None
    app: str
    device_token: str | None
    email: str | None
    visitor: str | None

    def apply(self, aggregate: _Client) -> None:
        aggregate.app, aggregate.push_contact = self.app, PushContact(self.email, self.visitor)


@dataclass(frozen=True, kw_only=True)
class WithEmail(ContactOwned):
    """Of one that tells another mail address; the visitor is who it was."""

    contact: UUID | None
    app: str
    email: str | None
    visitor: str | None

    def apply(self, aggregate: _Client) -> None:
        known = aggregate.push_contact or PushContact()
        aggregate.push_contact = known._replace(email=self.email)


@dataclass(frozen=True, kw_only=True)
class WithVisitor(ContactOwned):
    """Of one that tells another visitor. device_token: None in events from before the rest was told, too."""

    contact: UUID | None
    app: str
    device_token: str | None
    email: str | None
    visitor: str

    def apply(self, aggregate: _Client) -> None:
        known = aggregate.push_contact or PushContact()
        email = self.email if self.device_token else known.email
        aggregate.push_contact = PushContact(email, self.visitor)
