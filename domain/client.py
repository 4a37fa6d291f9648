"""A client: one application instance on a device or browser, with at most one push address."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from domain.aggregate import Aggregate, Created, restored
from domain.aggregate import Event as BaseEvent
from domain.devices.ownership import ContactOwned
from domain.devices.push_contact import Described, PushContact, WithEmail, WithVisitor
from domain.devices.renewal import is_believed, is_recorded

CLEARED = "cleared"
"""Why an address was retired that the device itself took back."""
TAKEN_OVER = "taken-over"
"""Why one was retired that another client of the realm has set since; the event's causation says which."""


class Client(Aggregate):
    """Its id is derived from (app, client id). It belongs to at most one contact at a time."""

    TOPIC = "client"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Registered(ContactOwned, Event, Created):
        """A first registration is one event, its address and contact included."""

        TOPIC = "client.registered.v1"
        SEALED: ClassVar[tuple[str, ...]] = ("address",)
        app: str
        client_id: str
        contact: UUID | None = None
        uid: str | None = None
        channel: str | None = None
        address: str | None = None
        token: UUID | None = None
        properties: dict[str, Any] = field(default_factory=dict)

        def apply(self, aggregate: Client) -> None:
            aggregate.address_at, aggregate.address_version = self.timestamp, self.originator_version

    @dataclass(frozen=True, kw_only=True)
    class Enrolled(Registered):
        """A first registration at a web domain: what Introduced says is in it, too."""

        TOPIC = "client.enrolled.v1"
        SEALED = ("address", "device_token", "email")
        device_token: str | None
        email: str | None
        visitor: str | None

        def apply(self, aggregate: Client) -> None:
            super().apply(aggregate)
            aggregate.push_contact = PushContact(self.email, self.visitor)

    @dataclass(frozen=True, kw_only=True)
    class PropertiesChanged(Event):
        TOPIC = "client.properties-changed.v1"
        properties: dict[str, Any]

        def apply(self, aggregate: Client) -> None:
            aggregate.properties = self.properties

    @dataclass(frozen=True, kw_only=True)
    class AddressSet(ContactOwned, Event):
        """contact: whose client it is now. token: a digest that finds the same address elsewhere.

        app: the client's; "" in events from before it was told.
        """

        TOPIC = "client.address-set.v2"
        SEALED = ("address",)
        contact: UUID | None
        channel: str
        address: str | None
        token: UUID
        previous_token: UUID | None = None
        app: str = ""

        def apply(self, aggregate: Client) -> None:
            aggregate.channel, aggregate.address = self.channel, self.address
            aggregate.token, aggregate.address_at = self.token, self.timestamp
            aggregate.address_version = self.originator_version
            aggregate.quarantined_at = aggregate.renewed_at = None

    @dataclass(frozen=True, kw_only=True)
    class AddressRenewed(Event):
        """The device has told the address that it has already: it was alive then, whatever was said of it before."""

        TOPIC = "client.address-renewed.v1"
        channel: str
        token: UUID

        def apply(self, aggregate: Client) -> None:
            aggregate.address_at = aggregate.renewed_at = self.timestamp
            aggregate.quarantined_at = None

    @dataclass(frozen=True, kw_only=True)
    class AddressRetired(Event):
        """code: CLEARED by the client itself, TAKEN_OVER by another, else the provider's reason or ours."""

        TOPIC = "client.address-retired.v2"
        contact: UUID | None
        channel: str
        token: UUID
        code: str
        app: str = ""

        def apply(self, aggregate: Client) -> None:
            aggregate.channel = aggregate.address = aggregate.token = None
            aggregate.quarantined_at = aggregate.renewed_at = None

    @dataclass(frozen=True, kw_only=True)
    class AddressQuarantined(Event):
        """A provider doubts the address; it is used on, until a later answer confirms the doubt or a new one is set."""

        TOPIC = "client.address-quarantined.v1"
        channel: str
        token: UUID
        code: str

        def apply(self, aggregate: Client) -> None:
            aggregate.quarantined_at = self.timestamp

    @dataclass(frozen=True, kw_only=True)
    class ContactLinked(ContactOwned, Event):
        """The client changes hands: `previous` loses it, `contact` (None: nobody) gets it.

        The address travels along, sealed anew under the new owner's key.
        """

        TOPIC = "client.contact-linked.v2"
        SEALED = ("address",)
        contact: UUID | None
        uid: str | None
        previous: UUID | None
        channel: str | None
        address: str | None
        token: UUID | None
        app: str = ""

        def apply(self, aggregate: Client) -> None:
            aggregate.contact, aggregate.uid = self.contact, self.uid
            aggregate.contact_id, aggregate.resolved_of = None, 0

    @dataclass(frozen=True, kw_only=True)
    class Introduced(Described, Event):
        """A web domain's push contact: the site's name for the device, who uses it, and (app) whose it is now."""

        TOPIC = "client.introduced.v1"
        SEALED = ("device_token", "email")

    @dataclass(frozen=True, kw_only=True)
    class EmailSet(WithEmail, Event):
        """The mail address that the site has for whoever uses the device."""

        TOPIC = "client.email-set.v1"
        SEALED = ("email",)

    @dataclass(frozen=True, kw_only=True)
    class VisitorSet(WithVisitor, Event):
        """The site's name for whoever uses the device; what else it knows is sealed for them anew (None: not told)."""

        TOPIC = "client.visitor-set.v2"
        SEALED = ("device_token", "email")

    @dataclass(frozen=True, kw_only=True)
    class RefreshOpened(Event):
        """Its refresh tokens are of another family from now on; the first one's id follows from the client's own."""

        TOPIC = "client.refresh-opened.v1"
        family: UUID

        def apply(self, aggregate: Client) -> None:
            aggregate.refresh_family = self.family

    @dataclass(frozen=True, kw_only=True)
    class ContactResolved(Event):
        """The number of the contact that the client belongs to. of: position of the change that it was found for."""

        TOPIC = "client.contact-resolved.v1"
        contact: UUID
        contact_id: int
        of: int

        def apply(self, aggregate: Client) -> None:
            aggregate.contact_id, aggregate.resolved_of = self.contact_id, self.of

    @dataclass(frozen=True, kw_only=True)
    class Moved(Event):
        """The device went on to another app, where it is another client; this one was reset."""

        TOPIC = "client.moved.v1"
        app: str
        to: str
        client: UUID

        def apply(self, aggregate: Client) -> None:
            aggregate.moved_to = self.client

    def __init__(
        self,
        app: str,
        client_id: str,
        contact: UUID | None,
        uid: str | None,
        channel: str | None,
        address: str | None,
        token: UUID | None,
        properties: dict[str, Any],
    ) -> None:
        self.app, self.client_id, self.contact, self.uid = app, client_id, contact, uid
        self.channel, self.address, self.token = channel, address, token
        self.properties = properties
        self.address_at: datetime | None = None
        self.renewed_at: datetime | None = None
        self.quarantined_at: datetime | None = None
        self.contact_id: int | None = None
        self.address_version = self.resolved_of = 0
        self.push_contact: PushContact | None = None
        self.refresh_family: UUID | None = None
        self.moved_to: UUID | None = None

    @classmethod
    def register(
        cls,
        *,
        id: UUID,
        at: datetime,
        app: str,
        client_id: str,
        contact: UUID | None = None,
        uid: str | None = None,
        channel: str | None = None,
        address: str | None = None,
        token: UUID | None = None,
        properties: dict[str, Any] | None = None,
    ) -> Client:
        # Hot path: Registered's fields in its own order, since passing them on by name takes longer than all the rest.
        fields = {
            "originator_id": id,
            "originator_version": cls.INITIAL_VERSION,
            "timestamp": at,
            "originator_topic": cls.TOPIC,
            "app": app,
            "client_id": client_id,
            "contact": contact,
            "uid": uid,
            "channel": channel,
            "address": address,
            "token": token,
            "properties": {} if properties is None else properties,
        }
        client: Client = cls._begun_by(restored(cls.Registered, fields))
        return client

    @classmethod
    def enroll(cls, *, id: UUID, at: datetime, app: str, client_id: str, **fields: Any) -> Client:
        """With what `register` and `introduce` take."""
        client: Client = cls._open(cls.Enrolled, id=id, at=at, app=app, client_id=client_id, **fields)
        return client

    def change_properties(self, *, at: datetime, properties: dict[str, Any]) -> None:
        if properties != self.properties:
            self.trigger_event(self.PropertiesChanged, timestamp=at, properties=properties)

    def set_address(
        self, *, at: datetime, channel: str, address: str, token: UUID, is_lost: bool = False
    ) -> None:
        """is_lost: another client has set the same token since; with this event it is this one's again."""
        if (channel, address) == (self.channel, self.address) and not is_lost:
            return
        told = {"channel": channel, "address": address, "token": token}
        self._tell(self.AddressSet, at, **told, previous_token=self.token)

    def renew_address(self, *, at: datetime) -> None:
        """The device has told its address again: what a provider finds out about it from before counts no more."""
        if self.token is not None and is_recorded(at, renewed_at=self.renewed_at):
            self.trigger_event(self.AddressRenewed, timestamp=at, channel=self.channel, token=self.token)

    def retire_address(self, *, at: datetime, code: str) -> None:
        if self.token is not None:
            self._tell(self.AddressRetired, at, channel=self.channel, token=self.token, code=code)

    def lose_address(self, *, at: datetime, token: UUID, version: int) -> None:
        """Another client has set `token`, after this one had done so in the event with this version.

        Nothing happens if this one has set an address since, the same one included. A push contact of a web domain
        keeps its own, which is not written to: by its contract it is there until its site or the provider ends it.
        """
        if self.token == token and self.address_version == version and self.push_contact is None:
            self.retire_address(at=at, code=TAKEN_OVER)

    def find_gone(
        self,
        *,
        at: datetime,
        token: UUID | None,
        code: str,
        since: datetime,
        tried_at: datetime,
        confirm: bool,
    ) -> None:
        """A provider said of a try at `tried_at` that `token` is dead since `since`.

        Nothing happens if the client has another address by now, or may have told this one later. With `confirm` the
        address is only quarantined the first time, and retired by an answer that is newer than the quarantine: the
        same answer told twice confirms nothing.
        """
        if self.token is None or self.token != token or self.address_at is None:
            return
        if not is_believed(since, tried_at=tried_at, told_at=self.address_at, renewed_at=self.renewed_at):
            return
        if confirm and (self.quarantined_at is None or since <= self.quarantined_at):
            self.quarantine(at=at, token=token, code=code)
        else:
            self.retire_address(at=at, code=code)

    def quarantine(self, *, at: datetime, token: UUID | None, code: str) -> None:
        """A provider doubts `token`: it may belong to another environment or topic. Once for each address."""
        told = {"channel": self.channel, "token": token, "code": code}
        if self.token is not None and self.token == token and self.quarantined_at is None:
            self.trigger_event(self.AddressQuarantined, timestamp=at, **told)

    def link(self, *, at: datetime, contact: UUID | None, uid: str | None) -> None:
        if contact == self.contact:
            return
        known = {"channel": self.channel, "address": self.address, "token": self.token, "app": self.app}
        self.trigger_event(
            self.ContactLinked, timestamp=at, contact=contact, uid=uid, previous=self.contact, **known
        )

    def introduce(
        self, *, at: datetime, app: str, device_token: str | None, email: str | None, visitor: str | None
    ) -> None:
        """app: whose push contact it is from now on."""
        told = {"app": app, "device_token": device_token, "email": email, "visitor": visitor}
        self.trigger_event(self.Introduced, timestamp=at, contact=self.contact, **told)

    def set_email(self, *, at: datetime, email: str | None) -> None:
        known = self.push_contact or PushContact()
        if email != known.email:
            self._tell(self.EmailSet, at, email=email, visitor=known.visitor)

    def set_visitor(self, *, at: datetime, device_token: str, visitor: str) -> None:
        known = self.push_contact or PushContact()
        if visitor != known.visitor:
            self._tell(self.VisitorSet, at, device_token=device_token, email=known.email, visitor=visitor)

    def open_refresh(self, *, at: datetime, family: UUID) -> None:
        self.trigger_event(self.RefreshOpened, timestamp=at, family=family)

    def leave(self, *, at: datetime, code: str) -> None:
        """Be nobody's from now on, and have no address (code: why)."""
        self.retire_address(at=at, code=code)
        self.link(at=at, contact=None, uid=None)

    def move(self, *, at: datetime, to: str, client: UUID) -> None:
        """Give up the address and the contact, since the device is `client` of the app `to` from now on."""
        self.leave(at=at, code="moved")
        if self.moved_to != client:
            self.trigger_event(self.Moved, timestamp=at, app=self.app, to=to, client=client)

    def note_contact_id(self, *, at: datetime, contact: UUID, contact_id: int, of: int) -> None:
        """Keep the number of the client's contact, unless it belongs to another by now or knows a newer one."""
        if contact == self.contact and of > self.resolved_of:
            self.trigger_event(
                self.ContactResolved, timestamp=at, contact=contact, contact_id=contact_id, of=of
            )

    def _tell(self, event: type[Event], at: datetime, **fields: Any) -> None:
        """An event that says whose client it is, and of which app."""
        self.trigger_event(event, timestamp=at, contact=self.contact, app=self.app, **fields)
