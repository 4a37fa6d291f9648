"""Which clients a device has been: found on the log alone, since a client id is no key of it.

A device that registers without its client state is a new client each time, and one that goes over to another app is
another client there: some SDKs say where they come from, native ones forget it. Owns the search for all of them, and
the ways between them. Shows nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from cli.console import progress
from cli.reading.logreading import newest_on
from domain.client import Client
from domain.ids import Ids, partition
from domain.recorded import EVENTS, kind_of
from domain.refresh_family import RefreshFamily
from infra.eventstore.wire import header_text
from infra.log.log import JetStreamLog
from infra.log.ordered import OrderedReader
from infra.nats.wire.frames import Stored

BATCH = 1_000
CLIENTS_MAX = 1_000
"""Clients of one story, which takes some reads for each. A client id is anybody's word, so there may be more."""

UNIQUE = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
"""A client id with a UUID in it, as all SDKs make them, is one installation's. A word like "phone-1" is anybody's."""

_BEGUN = frozenset({kind_of(Client.Registered.TOPIC), kind_of(Client.Enrolled.TOPIC)})
_MOVED, _REFRESH_OPENED = kind_of(Client.Moved.TOPIC), kind_of(Client.RefreshOpened.TOPIC)
_FAMILY_BEGUN = kind_of(RefreshFamily.Opened.TOPIC)


class OneClient(msgspec.Struct, kw_only=True):
    """position, at: of its registration. moved_to: where its device went on. families: of its refresh tokens.

    number: in its device's story, from 1. came_from: the numbers of those that its device was before.
    """

    id: UUID
    realm: str
    app: str
    client_id: str
    position: int
    at: datetime
    moved_to: list[UUID] = []
    families: list[UUID] = []
    number: int = 0
    came_from: list[int] = []

    @property
    def name(self) -> str:
        return f"{self.app}/{self.client_id}"

    @property
    def named(self) -> dict[str, str | int]:
        """For programs: which client of its device it is."""
        return {"number": self.number, "client": self.id.hex, "app": self.app, "realm": self.realm}


class Search(msgspec.Struct, frozen=True):
    """What was found of `app/client_id` in a realm.

    clients: the device's, in the order of their registrations, the newest CLIENTS_MAX. older: how many more there are.
    elsewhere: others with this client id, when there is none in the realm and app that were asked for. unreadable: how
    many facts might say more.
    """

    clients: Sequence[OneClient]
    older: int = 0
    elsewhere: Sequence[OneClient] = ()
    unreadable: int = 0


class _Begun(msgspec.Struct):
    app: str
    client_id: str


class _Moved(msgspec.Struct):
    client: UUID


class _Opened(msgspec.Struct):
    family: UUID


class _FamilyBegun(msgspec.Struct):
    contact: UUID
    client: UUID | None = None


_begun = msgspec.json.Decoder(_Begun)
_moved = msgspec.json.Decoder(_Moved)
_opened = msgspec.json.Decoder(_Opened)
_family_begun = msgspec.json.Decoder(_FamilyBegun)


async def find_device(log: JetStreamLog, ids: Ids, realm: str, app: str, client_id: str) -> Search:
    """All that the device was: under this name, under every other that a move leads to or comes from, and wherever else
    its client id is known, if that is one installation's.

    Moves keep the client id, so one pass over the clients' events finds all of them.
    """
    known, unreadable = await _scanned(
        log, ids, "evt.client.>", lambda said: said == client_id, f"looking for {client_id}"
    )
    roots = [each for each in known.values() if (each.realm, each.app.casefold()) == (realm, app.casefold())]
    if not roots:
        return Search((), elsewhere=list(known.values()), unreadable=unreadable)
    found = list(known.values())
    if not UNIQUE.search(client_id):
        found = _connected(roots, known, _ways(ids, known.values()))
    kept = found[-CLIENTS_MAX:]
    _number(kept, _ways(ids, kept))
    return Search(kept, older=len(found) - len(kept), unreadable=unreadable)


async def one_client(log: JetStreamLog, ids: Ids, id: UUID) -> OneClient | None:
    """A client by its own id, without those that its device was before and after; None if it is no client's."""
    subject = f"evt.client.{partition(id)}.{id.hex}"
    known, _unreadable = await _scanned(log, ids, subject, lambda _: True, "reading")
    found = known.get(id)
    if found is not None:
        _number([found], {})
    return found


async def appless_families(log: JetStreamLog, contact: UUID) -> list[UUID]:
    """The refresh families of sign-ins without an app. They have the contact's partition, so a 64th is looked at."""
    found: list[UUID] = []

    def look(stored: Stored) -> None:
        if kind_of(stored.headers["Topic"]) == _FAMILY_BEGUN:
            said = _family_begun.decode(stored.data)
            if (said.contact, said.client) == (contact, None):
                found.append(_id_of(stored))

    await _read(log, f"evt.refresh.{partition(contact)}.*", look, "looking for refresh tokens")
    return found


async def _scanned(
    log: JetStreamLog, ids: Ids, subject: str, is_wanted: Callable[[str], bool], what: str
) -> tuple[dict[UUID, OneClient], int]:
    """Clients by their id, in the order of their registrations; and how many facts nobody can read."""
    known: dict[UUID, OneClient] = {}

    def look(stored: Stored) -> None:
        kind = kind_of(stored.headers["Topic"])
        if kind in _BEGUN:
            said = _begun.decode(stored.data)
            if is_wanted(said.client_id):
                client = _client(stored, said, ids)
                known[client.id] = client
        elif kind == _MOVED and (moving := known.get(_id_of(stored))):
            moving.moved_to.append(_moved.decode(stored.data).client)
        elif kind == _REFRESH_OPENED and (signed_in := known.get(_id_of(stored))):
            signed_in.families.append(_opened.decode(stored.data).family)

    return known, await _read(log, subject, look, what)


async def _read(log: JetStreamLog, subject: str, look: Callable[[Stored], None], what: str) -> int:
    """Every message, not its fact: no key is asked for, since nothing that is looked at is sealed. How many of them
    nobody can read.
    """
    until, unreadable = await newest_on(log, EVENTS, subject), 0
    if until == 0:
        return 0

    async def check() -> None:
        """Nothing was read before, so there is nothing to go on with."""

    reader = OrderedReader(log.js, EVENTS, subjects=[subject], position=0, batch=BATCH, check=check)
    with progress(what) as advance:
        advance(0, until)
        async with contextlib.aclosing(reader.batches()) as batches:
            async for batch in batches:
                for stored in batch:
                    try:
                        look(stored)
                    except (ValueError, KeyError):
                        unreadable += 1
                advance(min(batch[-1].sequence, until))
                if batch[-1].sequence >= until:
                    break
    return unreadable


def _client(stored: Stored, said: _Begun, ids: Ids) -> OneClient:
    id, realm = _id_of(stored), header_text(stored.headers, "Realm")
    return OneClient(
        id=id,
        realm=realm,
        app=said.app,
        client_id=said.client_id,
        position=stored.sequence,
        at=datetime.fromisoformat(stored.headers["Time"]),
        families=[ids.derive(realm, "refresh", id.hex, like=id)],
    )


def _id_of(stored: Stored) -> UUID:
    return UUID(stored.subject.rpartition(".")[2])


def _ways(ids: Ids, clients: Iterable[OneClient]) -> dict[UUID, list[UUID]]:
    """By client, those that its device was before. A move that was cut off is known by the new client's id alone."""
    among = {each.id: each for each in clients}
    ways: dict[UUID, list[UUID]] = {}
    places = {(each.realm, each.app) for each in among.values()}
    for source in among.values():
        followed = ids_of_moves(ids, source, places)
        for target in dict.fromkeys([*source.moved_to, *followed]):
            if target in among and target != source.id:
                ways.setdefault(target, []).append(source.id)
    return ways


def ids_of_moves(ids: Ids, source: OneClient, places: Iterable[tuple[str, str]]) -> list[UUID]:
    """Who the device of `source` is at each place that it moves to (commands.sdk_clients.move_in)."""
    return [ids.client(realm, app, f"{source.client_id}#{source.id.hex}") for realm, app in places]


def _connected(
    roots: Sequence[OneClient], known: dict[UUID, OneClient], ways: dict[UUID, list[UUID]]
) -> list[OneClient]:
    """Whoever a way leads to from the roots, in either direction; each once, so a circle ends."""
    beside: dict[UUID, set[UUID]] = {}
    for target, sources in ways.items():
        for source in sources:
            beside.setdefault(target, set()).add(source)
            beside.setdefault(source, set()).add(target)
    reached = {each.id for each in roots}
    ahead = list(reached)
    while ahead:
        new = beside.get(ahead.pop(), set()) - reached
        reached |= new
        ahead += new
    return sorted((known[id] for id in reached), key=lambda each: each.position)


def _number(clients: Sequence[OneClient], ways: dict[UUID, list[UUID]]) -> None:
    for number, client in enumerate(clients, start=1):
        client.number = number
    numbers = {client.id: client.number for client in clients}
    for client in clients:
        client.came_from = sorted(numbers[source] for source in ways.get(client.id, ()))
