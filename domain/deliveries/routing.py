"""Which channels a contact is reached on: a pure function of the message, their preferences and their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.deliveries.channel import WEBSOCKET

DEVICES_MAX = 200
"""Devices of one contact that a message goes to, the newest: nobody has more in use. What is left out is counted."""

MOVED = "token-moved"
"""Why an address is not written to: another client has registered the same push token since."""

Channels = tuple[str, ...] | None
"""None: any; (): none."""


class Address(msgspec.Struct, frozen=True):
    """Where one client, or the contact itself (client None), can be reached.

    owned: no other client has claimed the same push token since. suppressed: why not to write to it, or "".
    app: the client's, "" for the contact's own address. set_at: position at which the client registered it.
    """

    channel: str
    address: str
    client: UUID | None = None
    token: UUID | None = None
    owned: bool = True
    suppressed: str = ""
    app: str = ""
    set_at: int = 0


class Person(msgspec.Struct, frozen=True):
    """A contact as the dispatcher sees it. channels: what they allow; thread_channels: in this thread.

    clients: only these may be written to, when the audience is one of clients.
    """

    contact: UUID
    addresses: Sequence[Address]
    channels: Channels = None
    thread_channels: Channels = None
    known: bool = True
    erased: bool = False
    clients: frozenset[UUID] | None = None


class Decision(msgspec.Struct, frozen=True):
    """websocket: the feed shows it to them. suppressed: why they get nothing at all, or "". left_out: devices beyond
    DEVICES_MAX.
    """

    contact: UUID
    addresses: tuple[Address, ...]
    websocket: bool
    suppressed: str = ""
    left_out: int = 0

    @property
    def channels(self) -> tuple[str, ...]:
        names = [address.channel for address in self.addresses]
        return tuple(dict.fromkeys([WEBSOCKET, *names] if self.websocket else names))


def route(person: Person, allowed: Channels, app: str = "") -> Decision:
    """Decide for one contact: the message's channels, cut by the contact's and by the subscription's.

    All channels are used at once. Every address that is left out is left out for a reason that holds for the
    contact as a whole, or is another client's by now. A message of an app goes to that app's clients and nowhere
    else: not to the contact's phone, mailbox or sockets.
    """
    # Whoever has a client of the app is there, though nothing else be known of them.
    if not person.known and not (app and (person.clients or person.addresses)):
        return Decision(person.contact, (), websocket=False, suppressed="unknown-contact")
    if person.erased:
        return Decision(person.contact, (), websocket=False, suppressed="erased")
    limits = [limit for limit in (allowed, person.channels, person.thread_channels) if limit is not None]
    if not all(limits):
        return Decision(person.contact, (), websocket=False, suppressed="switched-off")
    wanted = _in_all(limits)
    candidates = [address for address in person.addresses if wanted is None or address.channel in wanted]
    if app:
        candidates = [address for address in candidates if _is_of(address, app, person.clients)]
    usable = tuple([address for address in candidates if address.owned and not address.suppressed])
    websocket = not app and (wanted is None or WEBSOCKET in wanted)
    if usable or websocket:
        kept = _newest(usable)
        return Decision(person.contact, kept, websocket=websocket, left_out=len(usable) - len(kept))
    reasons = [address.suppressed or MOVED for address in candidates]
    return Decision(person.contact, (), websocket=False, suppressed=reasons[0] if reasons else "no-address")


def _in_all(limits: Sequence[tuple[str, ...]]) -> Channels:
    """What all of them let through."""
    if len(limits) < 2:
        return limits[0] if limits else None
    return tuple(channel for channel in limits[0] if all(channel in limit for limit in limits[1:]))


def _newest(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """Without the oldest of very many devices. The contact's own addresses stay."""
    if len(addresses) <= DEVICES_MAX:
        return addresses
    times = [(address.set_at, address.client) for address in addresses if address.client is not None]
    if len(times) <= DEVICES_MAX:
        return addresses
    kept = {client for _, client in sorted(times, reverse=True)[:DEVICES_MAX]}
    return tuple(address for address in addresses if address.client is None or address.client in kept)


def _is_of(address: Address, app: str, clients: frozenset[UUID] | None) -> bool:
    if clients is not None:
        return address.client in clients
    return address.app == app.casefold()
