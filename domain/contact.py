"""A contact: a person, anonymous or identified, and how they may be reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.aggregate import Aggregate, KeyOwner
from domain.aggregate import Created as BaseCreated
from domain.aggregate import Event as BaseEvent
from domain.deliveries.outcome import NO_APP
from domain.errors import Conflict

STRIKES_MAX = 3
"""Reports that a message did not reach the phone: the first may be chance, this many are not."""


OF_ADDRESS = frozenset({"bounce", "dropped"})
"""Reasons to suppress that say something of the mailbox; the person said all others, wherever they are reached."""


class Identity(NamedTuple):
    """A value of a merchant's contact field, as the merchant's app gave it. value "": the person was erased."""

    field: int
    value: str
    encrypted: bool = False


class Contact(Aggregate):
    """uid is the caller's word for the person, unique in the realm."""

    TOPIC = "contact"

    class Event(BaseEvent):
        def key_owner(self) -> KeyOwner | None:
            return KeyOwner("contact", self.originator_id)

    @dataclass(frozen=True, kw_only=True)
    class Created(Event, BaseCreated):
        TOPIC = "contact.created.v1"
        uid: str

    @dataclass(frozen=True, kw_only=True)
    class AddressSet(Event):
        """A phone number (E.164) or e-mail address; an empty one takes it away.

        token: the address's digest, to find the person by who only has the address; None when it is taken away.
        """

        TOPIC = "contact.address-set.v1"
        SEALED = ("address",)
        channel: str
        address: str | None
        token: UUID | None

        def apply(self, aggregate: Contact) -> None:
            aggregate.addresses[self.channel] = self.address or ""
            aggregate.tokens[self.channel] = self.token
            aggregate.address_times[self.channel] = self.timestamp
            aggregate.strikes.pop(self.channel, None)

    @dataclass(frozen=True, kw_only=True)
    class Identified(Event):
        """An app, or with app "" nobody's in particular, said who this is: the value of one of the merchant's contact
        fields.

        encrypted: the value is as the caller had it encrypted, for the contact data's own service to open.
        """

        TOPIC = "contact.identified.v1"
        SEALED = ("value",)
        field: int
        value: str | None
        encrypted: bool = False
        app: str = ""

        def apply(self, aggregate: Contact) -> None:
            aggregate.identity = Identity(self.field, self.value or "", self.encrypted)

    @dataclass(frozen=True, kw_only=True)
    class Resolved(Event):
        """The contact data's number for this contact. of: position of the change that it was asked for."""

        TOPIC = "contact.resolved.v1"
        contact_id: int
        of: int

        def apply(self, aggregate: Contact) -> None:
            aggregate.contact_id, aggregate.resolved_of = self.contact_id, self.of

    @dataclass(frozen=True, kw_only=True)
    class PreferencesSet(Event):
        """channels None: any; (): none. locale: BCP 47; time_zone: IANA name."""

        TOPIC = "contact.preferences-set.v1"
        channels: tuple[str, ...] | None
        locale: str
        time_zone: str

        def apply(self, aggregate: Contact) -> None:
            aggregate.channels = self.channels
            aggregate.locale, aggregate.time_zone = self.locale, self.time_zone

    @dataclass(frozen=True, kw_only=True)
    class AddressRetired(Event):
        """A provider said that this address is dead or unwanted (code: the provider's reason)."""

        TOPIC = "contact.address-retired.v1"
        channel: str
        code: str

        def apply(self, aggregate: Contact) -> None:
            aggregate.addresses.pop(self.channel, None)

    @dataclass(frozen=True, kw_only=True)
    class AddressDoubted(Event):
        """A provider took a message and could not bring it (code: its reason, report: its name for the message)."""

        TOPIC = "contact.address-doubted.v1"
        channel: str
        code: str
        report: str

        def apply(self, aggregate: Contact) -> None:
            aggregate.strikes.setdefault(self.channel, []).append(self.report)

    @dataclass(frozen=True, kw_only=True)
    class ChannelSuppressed(Event):
        """The person said stop, or complained, or can't be reached (code: the provider's reason).

        said_at: when the person said so, by who reports it; None where nobody told.
        """

        TOPIC = "contact.channel-suppressed.v2"
        channel: str
        code: str
        said_at: datetime | None

        def apply(self, aggregate: Contact) -> None:
            # Written by mistake once: an app was switched off, and nobody had said stop.
            if self.code == NO_APP:
                return
            again = self.channel in aggregate.suppressed
            aggregate.suppressed[self.channel] = self.code
            aggregate.stop_times[self.channel] = self.said_at or self.timestamp
            struck = len(aggregate.strikes.get(self.channel, ())) >= STRIKES_MAX
            if self.code in OF_ADDRESS or (struck and not again):
                aggregate.unreachable.add(self.channel)
            else:
                aggregate.unreachable.discard(self.channel)

    @dataclass(frozen=True, kw_only=True)
    class ChannelRestored(Event):
        """The person asked to be written to again, or has another address than the one that could not be reached.

        said_at: when the person asked, by who reports it; None where nobody told.
        """

        TOPIC = "contact.channel-restored.v2"
        channel: str
        said_at: datetime | None

        def apply(self, aggregate: Contact) -> None:
            if self.said_at is not None:
                aggregate.return_times[self.channel] = self.said_at
            aggregate.suppressed.pop(self.channel, None)
            aggregate.stop_times.pop(self.channel, None)
            aggregate.unreachable.discard(self.channel)
            aggregate.strikes.pop(self.channel, None)

    @dataclass(frozen=True, kw_only=True)
    class Erased(Event):
        """The person's key is destroyed: nothing sealed about them can be read again."""

        TOPIC = "contact.erased.v1"

        def apply(self, aggregate: Contact) -> None:
            aggregate.erased = True
            aggregate.addresses.clear()

    def __init__(self, uid: str) -> None:
        self.uid, self.erased = uid, False
        self.addresses: dict[str, str] = {}
        self.tokens: dict[str, UUID | None] = {}
        self.address_times: dict[str, datetime] = {}
        self.strikes: dict[str, list[str]] = {}
        self.suppressed: dict[str, str] = {}
        self.stop_times: dict[str, datetime] = {}
        self.return_times: dict[str, datetime] = {}
        self.unreachable: set[str] = set()
        self.channels: tuple[str, ...] | None = None
        self.locale = self.time_zone = ""
        self.identity: Identity | None = None
        self.contact_id: int | None = None
        self.resolved_of = 0

    @classmethod
    def create(cls, *, id: UUID, at: datetime, uid: str) -> Contact:
        contact: Contact = cls._open(cls.Created, id=id, at=at, uid=uid)
        return contact

    def identify(
        self, *, at: datetime, field: int, value: str, encrypted: bool = False, app: str = ""
    ) -> None:
        """Say who this is; app: whose word it is, "" for none's. The same again changes nothing."""
        self._assert_present()
        if Identity(field, value, encrypted) != self.identity:
            self.trigger_event(
                self.Identified, timestamp=at, field=field, value=value, encrypted=encrypted, app=app
            )

    def resolve(self, *, at: datetime, contact_id: int, of: int) -> None:
        """Keep the number that was found for the change at position `of`, unless a newer change has one.

        The same number for a newer change is kept, too: it is the newer position that holds old answers off.
        """
        if of > self.resolved_of and not self.erased:
            self.trigger_event(self.Resolved, timestamp=at, contact_id=contact_id, of=of)

    def set_address(self, *, at: datetime, channel: str, address: str, token: UUID | None) -> None:
        self._assert_present()
        if address != self.addresses.get(channel, ""):
            self.trigger_event(
                self.AddressSet,
                timestamp=at,
                channel=channel,
                address=address,
                token=token if address else None,
            )
            if address and channel in self.unreachable:
                self.restore(at=at, channel=channel)

    def retire_address(self, *, at: datetime, channel: str, code: str, since: datetime) -> None:
        """Give up a dead address, unless it was set after the provider found it dead."""
        if self.addresses.get(channel) and self.address_times[channel] <= since:
            self.trigger_event(self.AddressRetired, timestamp=at, channel=channel, code=code)

    def suppress(
        self,
        *,
        at: datetime,
        channel: str,
        code: str,
        token: UUID | None = None,
        said_at: datetime | None = None,
    ) -> None:
        """Send nothing more there. token: only if that is still the address, for what is said of an address alone.

        What the person says is kept even where the address is known not to work: another address would not undo it.
        said_at: reports come in any order, and what was said last holds.
        """
        known = channel in self.suppressed and (channel not in self.unreachable or code in OF_ADDRESS)
        if said_at is not None:
            said_at = min(said_at, at)
            if channel in self.return_times and said_at < self.return_times[channel]:
                return
            known = known and (code in OF_ADDRESS or said_at <= self.stop_times[channel])
        if not known and self._has(channel, token):
            self.trigger_event(
                self.ChannelSuppressed, timestamp=at, channel=channel, code=code, said_at=said_at
            )

    def doubt_address(
        self,
        *,
        at: datetime,
        channel: str,
        code: str,
        token: UUID | None,
        report: str,
        since: datetime | None = None,
    ) -> None:
        """Count a report against an address, each once; the last one that is borne suppresses the channel.

        since: when the message went to it; an address that was set later is another.
        """
        seen = self.strikes.get(channel, [])
        if report in seen or channel in self.suppressed or not self._has(channel, token):
            return
        if since is not None and (not self.addresses.get(channel) or self.address_times[channel] > since):
            return
        self.trigger_event(self.AddressDoubted, timestamp=at, channel=channel, code=code, report=report)
        if len(self.strikes[channel]) >= STRIKES_MAX:
            self.suppress(at=at, channel=channel, code=code)

    def restore(
        self, *, at: datetime, channel: str, token: UUID | None = None, said_at: datetime | None = None
    ) -> None:
        """Send there again. said_at: as for `suppress`; a yes that comes before the older no holds that off."""
        restores = channel in self.suppressed
        if said_at is not None:
            said_at = min(said_at, at)
            latest = self.stop_times if restores else self.return_times
            restores = restores or bool(self.addresses.get(channel))
            restores = restores and (channel not in latest or said_at > latest[channel])
        if restores and self._has(channel, token):
            self.trigger_event(self.ChannelRestored, timestamp=at, channel=channel, said_at=said_at)

    def set_preferences(
        self, *, at: datetime, channels: tuple[str, ...] | None, locale: str, time_zone: str
    ) -> None:
        self._assert_present()
        if (channels, locale, time_zone) != (self.channels, self.locale, self.time_zone):
            self.trigger_event(
                self.PreferencesSet,
                timestamp=at,
                channels=channels,
                locale=locale,
                time_zone=time_zone,
            )

    def erase(self, *, at: datetime) -> None:
        if not self.erased:
            self.trigger_event(self.Erased, timestamp=at)

    def _has(self, channel: str, token: UUID | None) -> bool:
        return token is None or self.tokens.get(channel) == token

    def _assert_present(self) -> None:
        if self.erased:
            raise Conflict("this contact was erased for good; use another uid")
