"""How each contact can be reached: what they allow, and every address, in one partition a contact.

Also who owns a push token, and which contacts have had a phone number or mail address, by its digest. A token is the
newest registration's, whatever the order of events; it never goes back to an older one, which may be another person's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from msgspec import convert

from domain.client import Client
from domain.contact import Contact
from domain.deliveries.channel import BUILT_IN, HMS, OF_CONTACT
from domain.deliveries.outcome import NO_APP
from domain.deliveries.routing import Address, Channels, Person
from domain.recorded import EVENTS, Recorded
from projections.checks import count, narrow
from projections.paging import pages
from projections.port import Delete, Generation, Put, ReadModels, Row, Table, Write

REACH = Table(
    projection="reach",
    name="reach",
    partition={"realm": "text", "contact": "uuid"},
    clustering={"slot": "text"},
    columns={
        "uid": "text",
        "channels": "json",
        "erased_at": "bigint",
        "channel": "text",
        "address": "text",
        "token": "uuid",
        "app": "text",
        "suppressed": "text",
    },
)
"""slot "": the contact itself; a channel's name: the contact's own address; 32 hex digits: a client's address."""

SLOTS = narrow(REACH, "channels", "erased_at", "channel", "address", "token", "app", "suppressed")
"""What decides how somebody is reached."""

TOKENS = Table(
    projection="reach",
    name="tokens",
    partition={"realm": "text", "token": "uuid"},
    clustering={"client": "uuid"},
    columns={"set_at": "bigint", "version": "bigint"},
)
"""The clients that have set the token, and have not lost it by an event of theirs since. set_at: position of the event,
version: its place among the client's own.
"""

OWNERS = Table(
    projection="reach",
    name="owners",
    partition={"realm": "text", "token": "uuid"},
    columns={"client": "uuid", "set_at": "bigint"},
)
"""Which client has ever set the token last, whatever became of it. Who still has the token is in TOKENS, and, where
they are reached, in REACH.
"""

HOLDERS = Table(
    projection="reach",
    name="holders",
    partition={"realm": "text", "token": "uuid"},
    clustering={"contact": "uuid"},
    columns={"channel": "text"},
)
"""Who has ever had the address with this digest as their own; who has it now, their events say."""

HOLDERS_MAX = 50
"""Contacts that share one phone or mailbox."""

SLOTS_MAX = 200
"""Addresses of one contact that are read at a time: more than nearly anybody has."""
SLOTS_READ_MAX = 10_000
"""Of one contact; beyond that the rest is no person's. Their own slots are never left out."""
CLAIMS_MAX = 500
"""Clients with the same token that one look takes."""


class Reach:
    """The projection."""

    name, version = "reach", 5
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.contact.>", "evt.client.>")}
    tables = (REACH, TOKENS, OWNERS, HOLDERS)

    def project(self, fact: Recorded) -> Iterable[Write]:
        match fact.body:
            case Contact.Event() as event:
                return _contact_writes(fact, event)
            case Client.Event() as event:
                return _client_writes(fact, event)
            case _:
                return ()

    async def check(self, generation: Generation) -> list[str]:
        slots = narrow(REACH, "address", "channel")
        lost = await count(generation, slots, lambda row: bool(row["address"]) and row["channel"] is None)
        return [f"{lost} addresses have no channel"] if lost else []


def _contact_writes(fact: Recorded, event: Contact.Event) -> Iterable[Write]:
    contact = event.originator_id

    def put(slot: str, **values: Any) -> Put:
        return Put(REACH, (fact.realm, contact, slot), values, fact.position)

    match event:
        case Contact.Created():
            yield put("", uid=event.uid)
        case Contact.PreferencesSet():
            yield put("", channels=event.channels)
        case Contact.AddressDoubted() | Contact.Identified() | Contact.Resolved():
            return
        case Contact.ChannelSuppressed(code=code) if code == NO_APP:
            return
        case Contact.Erased():
            yield put("", erased_at=fact.position, channels=None)
            for channel in sorted(OF_CONTACT):
                yield put(channel, address=None)
        case _:
            values = _own_slot(event)
            yield put(values.pop("slot"), **values)
            if isinstance(event, Contact.AddressSet) and event.token is not None:
                holder = (fact.realm, event.token, contact)
                yield Put(HOLDERS, holder, {"channel": event.channel}, fact.position)


def _own_slot(event: Contact.Event) -> dict[str, Any]:
    """What changes in which slot of the contact's own addresses."""
    match event:
        case Contact.AddressSet():
            return {"slot": event.channel, "channel": event.channel, "address": event.address or None}
        case Contact.AddressRetired():
            return {"slot": event.channel, "address": None}
        case Contact.ChannelSuppressed():
            return {"slot": event.channel, "channel": event.channel, "suppressed": event.code}
        case Contact.ChannelRestored():
            return {"slot": event.channel, "suppressed": None}
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")


def _client_writes(fact: Recorded, event: Client.Event) -> Iterable[Write]:
    client = event.originator_id
    for contact, values in _addresses(event):
        if contact is not None:
            key = (fact.realm, contact, client.hex)
            if values is None:
                yield Delete(REACH, key, fact.position)
            else:
                yield Put(REACH, key, values, fact.position)
    yield from _token_writes(fact, event)


def _addresses(event: Client.Event) -> Iterable[tuple[UUID | None, dict[str, Any] | None]]:
    """(contact, what is in the client's slot with that contact; None empties it).

    Emptied slots are deleted: a contact's rows stay as few as the devices in use, however many came and went.
    """
    match event:
        case Client.Registered() | Client.AddressSet():
            yield event.contact, _slot(event)
        case Client.AddressRetired():
            yield event.contact, None
        case Client.ContactLinked():
            yield event.previous, None
            yield event.contact, _slot(event)
        case (
            Client.PropertiesChanged()
            | Client.AddressRenewed()
            | Client.AddressQuarantined()
            | Client.ContactResolved()
            | Client.RefreshOpened()
            | Client.Moved()
            | Client.Introduced()
            | Client.EmailSet()
            | Client.VisitorSet()
        ):
            return
        case _:
            raise ValueError(f"no rule for {type(event).__qualname__}")


def _slot(event: Client.Registered | Client.AddressSet | Client.ContactLinked) -> dict[str, Any] | None:
    if event.address is None or event.channel == HMS:
        return None
    return {
        "channel": event.channel,
        "address": event.address,
        "token": event.token,
        "app": event.app.casefold(),
    }


def _token_writes(fact: Recorded, event: Client.Event) -> Iterable[Write]:
    lost = event.previous_token if isinstance(event, Client.AddressSet) else None
    if isinstance(event, Client.AddressRetired):
        lost = event.token
    taken = token_set(event)
    if lost is not None and lost != taken:
        yield Delete(TOKENS, (fact.realm, lost, event.originator_id), fact.position)
    if taken is not None:
        claim = {"set_at": fact.position, "version": event.originator_version}
        yield Put(TOKENS, (fact.realm, taken, event.originator_id), claim, fact.position)
        owner = {"client": event.originator_id, "set_at": fact.position}
        yield Put(OWNERS, (fact.realm, taken), owner, fact.position)


def token_set(event: Client.Event) -> UUID | None:
    """The token that the event gives its client."""
    return event.token if isinstance(event, Client.Registered | Client.AddressSet) else None


async def people(
    models: ReadModels,
    realm: str,
    contacts: Sequence[UUID],
    *,
    thread_channels: Mapping[UUID, Channels] | None = None,
    clients_of: Mapping[UUID, frozenset[UUID]] | None = None,
) -> list[Person]:
    """Each contact with all that routing needs, in the given order.

    clients_of: the clients each may be reached on, for an audience of clients.
    """
    found = await models.range_many(SLOTS, [(realm, contact) for contact in contacts], limit_each=SLOTS_MAX)
    rows_of = [found.get((realm, contact), []) for contact in contacts]
    for place, rows in enumerate(rows_of):
        if len(rows) == SLOTS_MAX:
            rows_of[place] = await _all(models, realm, contacts[place], rows)
    owners = await _owners(models, realm, chain.from_iterable(rows_of))
    ids = _clients_in(chain.from_iterable(rows_of))
    prefer, clients = thread_channels or {}, clients_of or {}
    return [
        _person(contact, rows, owners, ids, prefer.get(contact), clients.get(contact) if clients else None)
        for contact, rows in zip(contacts, rows_of, strict=True)
    ]


def _clients_in(rows: Iterable[Row]) -> dict[str, UUID]:
    """The clients that have an address in these slots, by slot."""
    slots = [row["slot"] for row in rows if row["address"] and row["slot"] not in OF_CONTACT]
    # Hot path: msgspec reads an id in a fifth of the time that its class needs, and many in half of that.
    return dict(zip(slots, convert(slots, list[UUID]), strict=True))


async def _all(models: ReadModels, realm: str, contact: UUID, first: Sequence[Row]) -> list[Row]:
    """All slots of somebody with very many devices. first: the first SLOTS_MAX of them."""
    rows = list(first)
    while len(rows) < SLOTS_READ_MAX:
        more = await models.range(SLOTS, (realm, contact), after=(rows[-1]["slot"],), limit=SLOTS_MAX)
        rows += more
        if len(more) < SLOTS_MAX:
            return rows
    return await _with_own(models, realm, contact, rows)


async def _with_own(models: ReadModels, realm: str, contact: UUID, rows: Sequence[Row]) -> list[Row]:
    """With too many devices to read all of them: their phone, their mailbox and what they said stop to, too."""
    there = {row["slot"] for row in rows}
    keys = [(realm, contact, slot) for slot in BUILT_IN if slot not in there]
    own = await models.get_many(SLOTS, keys)
    return [*rows, *(row for row in own if row is not None)]


def _person(
    contact: UUID,
    rows: Sequence[Row],
    owners: dict[UUID, Row],
    ids: dict[str, UUID],
    thread_channels: Channels,
    clients: frozenset[UUID] | None,
) -> Person:
    # Hot path: with the next one half of what a dispatcher does in Python for each contact.
    self_row: Row = {}
    stopped: dict[str, str] = {}
    slots: list[Row] = []
    for row in rows:
        if row["suppressed"]:
            stopped[row["slot"]] = row["suppressed"]
        if not row["slot"]:
            self_row = row
        elif row["address"]:
            slots.append(row)
    channels = self_row.get("channels")
    return Person(
        contact,
        tuple([_address(row, owners, ids, stopped) for row in slots]),
        None if channels is None else tuple(channels),
        thread_channels,
        known=bool(self_row),
        erased=bool(self_row.get("erased_at")),
        clients=clients,
    )


def _address(row: Row, owners: dict[UUID, Row], ids: dict[str, UUID], stopped: dict[str, str]) -> Address:
    """stopped: the contact's suppressed channels; that holds for devices as for the contact's own addresses."""
    token, channel = row["token"], row["channel"]
    client = ids.get(row["slot"])
    # Who has set it last still has it, or the slot would be empty.
    owner = owners.get(token) if token is not None else None
    owned = token is None or (owner is not None and owner["client"] == client)
    return Address(
        channel,
        row["address"],
        client,
        token,
        owned=owned,
        suppressed=stopped.get(channel, ""),
        app=row["app"] or "",
        set_at=owner["set_at"] if owner is not None and owned else 0,
    )


async def _owners(models: ReadModels, realm: str, rows: Iterable[Row]) -> dict[UUID, Row]:
    """Who has set the tokens in these slots last, by token."""
    return await _last_set(models, realm, [row["token"] for row in rows if row["token"] and row["address"]])


async def _last_set(models: ReadModels, realm: str, tokens: Iterable[UUID]) -> dict[UUID, Row]:
    keys = [(realm, token) for token in dict.fromkeys(tokens)]
    found = await models.range_many(OWNERS, keys, limit_each=1) if keys else {}
    return {token: rows[0] for (_, token), rows in found.items() if rows}


async def holders(models: ReadModels, realm: str, token: UUID) -> list[UUID]:
    """Contacts that have, or once had, the address with this digest as their own."""
    rows = await models.range(HOLDERS, (realm, token), limit=HOLDERS_MAX)
    return [row["contact"] for row in rows]


async def owned(models: ReadModels, realm: str, pairs: Sequence[tuple[UUID, UUID]]) -> list[bool]:
    """For each (token, client): whether the client set the token last, and still has it."""
    owners = await _last_set(models, realm, [token for token, _ in pairs])
    claims = await models.get_many(TOKENS, [(realm, token, client) for token, client in pairs])
    return [
        claim is not None and token in owners and owners[token]["client"] == client
        for (token, client), claim in zip(pairs, claims, strict=True)
    ]


async def had_before(
    models: ReadModels, realm: str, token: UUID, position: int, client: UUID
) -> AsyncGenerator[Row]:
    """What other clients than this one still claim of a token that they set before a position, claim by claim."""
    async for claims in pages(models, TOKENS, (realm, token), chunk=CLAIMS_MAX):
        for claim in claims:
            if claim["client"] != client and claim["set_at"] < position:
                yield claim
