"""The whole story of something: every fact that the log has about it, of all its streams, in the order of time.

A story is read as it is told, so it may be of any length; what it leaves out all the same, it says, and where to read
on. Never prints.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final
from uuid import UUID

import msgspec

from cli.console import Failure
from cli.reading.devices import OneClient, appless_families, find_device, one_client
from cli.reading.facts import time_text
from cli.reading.logreading import STREAMS, Fact, moment, newest_on, read_range
from domain.context import DEFAULT_REALM
from domain.ids import Ids, partition
from domain.recorded import DELIVERY, EVENTS, SIGNALS
from infra.eventstore.catalogue import domain_catalogue
from infra.log.facts import FactReader
from infra.log.log import JetStreamLog

SHOWN = (*STREAMS, SIGNALS)
"""Streams that a fact can be named of."""

_POSITIONS = ", ".join(f"{stream}:POSITION" for stream in SHOWN)
KINDS: Final = f"thread:TID, contact:UID, client:APP/ID, merchant:ID, {_POSITIONS}"

PAGE = 100
PAGE_BYTES = 256 << 10
"""Facts of one subject in memory; a device of many clients has some thousands of subjects. A batch of signals has up to
two megabytes, ten once it is read: large ones come one by one.
"""
NAMED_MAX = 10
"""Other names that a device might be meant by."""

_Head = tuple[tuple[str, int], int, Fact, AsyncIterator[Fact]]
"""The next fact of a source: when it was, a number that decides between equals, the fact, and those that follow."""


class Source(msgspec.Struct, frozen=True):
    """What is read of one subject, in its order."""

    stream: str
    subject: str


class Story(msgspec.Struct, frozen=True):
    """sources: what it begins with. at: the one fact that it is, a stream's position.

    clients: whom a device's story is about, () for any other. whose: which of them a fact is about, by the id at the
    end of its subject. notes: what the reader must know besides, whatever is left out among it.
    """

    sources: tuple[Source, ...]
    at: tuple[str, int] | None = None
    clients: tuple[OneClient, ...] = ()
    whose: dict[str, OneClient] = {}
    notes: tuple[str, ...] = ()

    def client_of(self, fact: Fact) -> OneClient | None:
        return self.whose.get(fact.subject.rpartition(".")[2])


async def story(log: JetStreamLog, ids: Ids, what: str, realm: str) -> Story:
    """Of what is named: STREAM:POSITION, thread:TID, contact:UID, client:APP/ID, merchant:ID, or an id as in subjects.

    Raises Failure for a name that is none, or that the log has a better one for.
    """
    kind, colon, name = what.partition(":")
    if not colon:
        return await _of_id(log, ids, _uuid(what))
    if kind.upper() in SHOWN:
        return await _at(log, kind.upper(), name, what)
    match kind:
        case "thread":
            return Story(tuple(_about(ids.thread(realm, name))))
        case "contact":
            return await _of_contact(log, ids.contact(realm, name))
        case "merchant":
            return Story(tuple(_about(ids.merchant(name))))
        case "client" if "/" in name:
            return await _of_device(log, ids, name, realm)
        case _:
            raise Failure(f"{what}: write {KINDS} or an id")


async def facts_of(log: JetStreamLog, told: Story) -> AsyncGenerator[Fact]:
    """All of them by their times, each subject's in its order. A dispatch leads to its attempts and outcomes."""
    if told.at is not None:
        stream, position = told.at
        async for page in read_range(log, stream, after=position - 1, until=position):
            for fact in page:
                yield fact
    heads: list[_Head] = []
    number, facts = count(), FactReader(domain_catalogue(), log.keys)

    async def open_up(following: AsyncIterator[Fact]) -> None:
        if (first := await anext(following, None)) is not None:
            heappush(heads, (moment(first), next(number), first, following))

    for source in told.sources:
        await open_up(_read(log, facts, source))
    while heads:
        _, _, fact, following = heappop(heads)
        yield fact
        await open_up(following)
        for source in _led_to(fact):
            await open_up(_read(log, facts, source))


async def _read(log: JetStreamLog, facts: FactReader, source: Source) -> AsyncGenerator[Fact]:
    """What nobody can read is among them."""
    # Subject by subject: a reader of several goes through the whole stream for them, seconds for each million.
    after = 0
    while page := await log.js.page(
        source.stream, source.subject, seq=after + 1, limit=PAGE, bytes_max=PAGE_BYTES
    ):
        after = page[-1].sequence
        for fact in await facts.read(source.stream, page):
            yield fact


def _led_to(fact: Fact) -> Iterator[Source]:
    if fact.stream == DELIVERY and fact.subject.startswith("dispatch."):
        _, channel, _lane, message, page, tried = fact.subject.split(".")
        for kind in ("attempt", "outcome"):
            yield Source(DELIVERY, f"{kind}.{channel}.{message}-{page}-{tried}")


def _about(*ids: UUID, kind: str = "*") -> Iterator[Source]:
    """All events and signals of aggregates. kind: theirs, if it is one."""
    for id in ids:
        yield Source(EVENTS, f"evt.{kind}.{partition(id)}.{id.hex}")
        yield Source(SIGNALS, f"signal.*.{partition(id)}.{id.hex}")


async def _at(log: JetStreamLog, stream: str, name: str, what: str) -> Story:
    if not (name.isascii() and name.isdigit()) or not int(name):
        raise Failure(f"{what}: write {stream}:POSITION with a number from 1")
    position = int(name)
    if position > (end := await log.end(stream)):
        raise Failure(f"{what}: {stream} ends at {end}")
    if await log.js.leader_get(stream, seq=position) is None:
        raise Failure(f"{what} is no longer kept")
    return Story((), at=(stream, position))


async def _of_id(log: JetStreamLog, ids: Ids, id: UUID) -> Story:
    """Of a client its refresh tokens too, of a contact those it has without an app, of a message its deliveries."""
    client = await one_client(log, ids, id)
    if client is not None:
        theirs = f" --realm {client.realm}" if client.realm != DEFAULT_REALM else ""
        more = f"msgxc events show client:{client.name}{theirs}"
        return _of_clients([client], [f"this is one client; {more} tells what else its device was"])
    if await newest_on(log, EVENTS, f"evt.contact.{partition(id)}.{id.hex}"):
        return await _of_contact(log, id)
    deliveries = (f"audience.{id.hex}.>", f"dispatch.*.*.{id.hex}.>", f"receipt.*.{id.hex}")
    return Story((*_about(id), *(Source(DELIVERY, subject) for subject in deliveries)))


async def _of_contact(log: JetStreamLog, id: UUID) -> Story:
    return Story(tuple(_about(id, *await appless_families(log, id))))


async def _of_device(log: JetStreamLog, ids: Ids, name: str, realm: str) -> Story:
    app, _, client_id = name.partition("/")
    found = await find_device(log, ids, realm, app, client_id)
    notes: list[str] = []
    if found.unreadable:
        notes.append(
            f"facts about clients that cannot be read, and may say more: {found.unreadable}; see msgxc doctor"
        )
    if found.elsewhere:
        others = sorted({(each.name, each.realm) for each in found.elsewhere})
        named = ", ".join(f"client:{other} --realm {theirs}" for other, theirs in others[:NAMED_MAX])
        raise Failure(f"the log says nothing of client:{name} in realm {realm}, but of {named}")
    if found.older:
        told, until = len(found.clients), found.clients[0].position - 1
        notes.append(
            f"only the newest {told:,} of {told + found.older:,} clients are told. The ids of the older ones: "
            f"msgxc events export --topic client.registered --until {until} | grep -F '{client_id}'; "
            "the story of each: msgxc events show ID"
        )
    return _of_clients(found.clients, notes)


def _of_clients(clients: Sequence[OneClient], notes: Iterable[str]) -> Story:
    whose = {id.hex: each for each in clients for id in (each.id, *each.families)}
    own = _about(*(each.id for each in clients), kind="client")
    tokens = (
        Source(EVENTS, f"evt.refresh.{partition(family)}.{family.hex}")
        for each in clients
        for family in each.families
    )
    return Story((*own, *tokens), clients=tuple(clients), whose=whose, notes=tuple(notes))


def heading(told: Story, what: str) -> list[str]:
    """Who is who in a story of several clients; nothing for any other."""
    if len(told.clients) < 2:
        return []
    lines = [
        f"{what} is {len(told.clients)} clients. Each fact begins with the number of the one it is about:"
    ]
    numbers = {each.id: each.number for each in told.clients}
    width = len(str(told.clients[-1].number))
    for each in told.clients:
        said = [f"registered {time_text(each.at)}"]
        said += [f"came from {number}" for number in each.came_from]
        said += [f"went on as {numbers[id]}" for id in dict.fromkeys(each.moved_to) if id in numbers]
        lines.append(f"{each.number:>{width}}  {each.id.hex}  {each.app} in {each.realm}: {', '.join(said)}")
    if len([each for each in told.clients if not each.came_from]) > 1:
        lines.append(
            "Who registers without a client state is a new client, whatever client id it names: a device that lost its "
            "state or an answer, or another one."
        )
    return [*lines, ""]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Failure(f"{text} is no id: write 32 hex digits, {KINDS}") from None
