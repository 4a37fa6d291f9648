"""Rebuilds and comparisons beside a live read model, on a real store: what they put aside, and what they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from uuid import UUID

import pytest

from commands.contacts import PutContact
from domain.contact import Contact
from domain.errors import Conflict
from domain.recorded import EVENTS, SHOPS, Recorded
from domain.shop import Addressed, encode
from infra.pausing import Gate, gated
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from processes.models import filling
from processes.models.filling import lease_name
from processes.models.projector import Projector
from processes.models.rebuild import InvariantsBroken, build
from processes.models.verify import Verdict, up_to, verify
from processes.models.watermark import Watermark
from projections import contacts, shop_queries
from projections.contacts import Contacts
from projections.port import Generation, Projection, Write
from projections.shop_queries import Window
from projections.shops import Shops
from tests.memory.lifeline import Lifeline
from tests.memory.ports.feeding import MemoryLease
from tests.memory.ports.streams import Entry
from tests.memory.projecting import end_of, three
from tests.memory.world import IDS, REALM, World


class Broken(Contacts):
    """Contacts by code that can't read how one begins. problems: what its checks say."""

    def __init__(self, *problems: str) -> None:
        self.problems = list(problems)

    def project(self, fact: Recorded) -> Iterable[Write]:
        begins = isinstance(fact.body, Contact.Created)
        if begins:
            raise LookupError("no rule")
        return super().project(fact)

    async def check(self, generation: Generation) -> list[str]:
        return self.problems


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ReadStore]:
    async with read_store(tmp_path) as opened:
        yield opened


def lease(made: World) -> MemoryLease:
    """Another process', each time."""
    return MemoryLease(made.streams, lease_name("contacts"), Lifeline())


async def rebuilt(made: World, store: ReadStore, projection: Projection) -> None:
    """And live."""
    held = MemoryLease(made.streams, lease_name(projection.name), Lifeline())
    await store.switch(projection.name, await build(made.own.log, store, projection, lease=held))


async def verified(made: World, store: ReadStore, projection: Projection) -> Verdict:
    return await verify(made.own.log, store, projection, lease=lease(made), hold_still=nullcontext)


async def started_anew(made: World, store: ReadStore, projection: Projection) -> None:
    """The projecting process, from its start to the end of the log."""
    number = await store.live(projection.name)
    assert number is not None
    generation = await store.generation(projection.name, number, projection.tables)
    projector = Projector(made.own.log, EVENTS, [(projection, generation)], Watermark(store, local=True))
    async with asyncio.timeout(5):
        await projector.run(until=end_of(made.streams))


async def bob(store: ReadStore) -> str | None:
    row = await contacts.find(store, REALM, IDS.contact(REALM, "bob"))
    return row["locale"] if row else None


async def test_a_rebuild_by_mended_code_is_a_cure(store: ReadStore) -> None:
    """What was put aside shows, and so does the next change of it after a new start."""
    made = World()
    await three(made)
    await rebuilt(made, store, Broken())
    assert await bob(store) is None
    await rebuilt(made, store, Contacts())
    assert await bob(store) == "de"
    await made.do(PutContact(uid="bob", locale="it"))
    await started_anew(made, store, Contacts())
    assert await bob(store) == "it"


async def test_what_a_comparison_puts_aside_holds_up_nothing_that_is_live(store: ReadStore) -> None:
    """Not the live generation, and not the next one that gets its number."""
    made = World()
    await three(made)
    await rebuilt(made, store, Contacts())
    assert (await verified(made, store, Broken())).differences
    await made.do(PutContact(uid="bob", locale="it"))
    await started_anew(made, store, Contacts())
    assert await bob(store) == "it"
    await rebuilt(made, store, Contacts())
    await made.do(PutContact(uid="bob", locale="fr"))
    await started_anew(made, store, Contacts())
    assert await bob(store) == "fr"


async def test_an_unfinished_rebuild_that_put_facts_aside_begins_anew(store: ReadStore) -> None:
    """Mended code does not go on from where the broken code has been."""
    made = World()
    await three(made)
    await stopped_at(made, store, Broken(), 3)
    await rebuilt(made, store, Contacts())
    assert await bob(store) == "de"


async def stopped_at(made: World, store: ReadStore, projection: Projection, position: int) -> None:
    """A rebuild that ends there, unfinished."""
    [stream] = projection.streams
    number = await store.begin(projection.name, projection.version)
    generation = await store.generation(projection.name, number, projection.tables)
    log, mark = up_to(made.own.log, position), Watermark(generation, local=True)
    async with asyncio.timeout(5):
        await Projector(log, stream, [(projection, generation)], mark).run(until=position)


class Watched(Shops):
    """Shops, and which positions it was shown. breaks: at a position, by code that is not mended yet."""

    def __init__(self, *, breaks: int = 0) -> None:
        self.shown: list[int] = []
        self._breaks = breaks

    def project(self, fact: Recorded) -> Iterable[Write]:
        self.shown.append(fact.position)
        if fact.position == self._breaks:
            raise LookupError("no rule")
        return super().project(fact)


def shop_messages(made: World, shop: UUID) -> None:
    """Six of one shop; the first is none, and never will be."""
    lines = b"Time: 2027-01-01T12:00:00.000000Z\r\n"
    for body in (b"hello", *[encode(Addressed(shop_id=shop, data=number)) for number in range(5)]):
        made.streams.append(SHOPS, [Entry(f"updates.store.{shop}", lines, body)])


async def test_an_unfinished_rebuild_goes_on_beside_what_nobody_can_read(store: ReadStore) -> None:
    """A message of a shop that is none is put aside once, and no reason to read all the others again."""
    made, shop, again = World(), UUID(int=7, version=4), Watched()
    shop_messages(made, shop)
    await stopped_at(made, store, Shops(), 3)
    await rebuilt(made, store, again)
    assert again.shown == [4, 5, 6]
    assert [each.position for each in made.streams.aside.values()] == [1]
    rows, _ = await shop_queries.updates(store, shop, Window(), place=None, limit=10)
    assert [row["position"] for row in rows] == [2, 3, 4, 5, 6]


async def test_an_unfinished_rebuild_begins_anew_for_one_message_that_can_be_read_by_now(
    store: ReadStore,
) -> None:
    """Whatever else of the same shop can't be."""
    made, shop = World(), UUID(int=7, version=4)
    shop_messages(made, shop)
    await stopped_at(made, store, Watched(breaks=3), 4)
    await rebuilt(made, store, Shops())
    rows, _ = await shop_queries.updates(store, shop, Window(), place=None, limit=10)
    assert [row["position"] for row in rows] == [2, 3, 4, 5, 6]


async def test_an_unfinished_rebuild_goes_on_by_code_that_is_not_mended(store: ReadStore) -> None:
    """What the fact that can't be read holds up waits as before, though it could be read by itself."""
    made = World()
    await three(made)
    await stopped_at(made, store, Broken(), end_of(made.streams) - 1)
    await rebuilt(made, store, Broken())
    assert len({each.source for each in made.streams.aside.values()}) == 1
    assert await bob(store) is None


async def test_a_rebuild_that_fails_its_checks_leaves_nothing_to_go_on_from(store: ReadStore) -> None:
    """It is dropped with what is wrong in it, and mended code begins at the beginning."""
    made = World()
    await three(made)
    await rebuilt(made, store, Contacts())
    with pytest.raises(InvariantsBroken, match="wrong"):
        await rebuilt(made, store, Broken("all is wrong"))
    assert [info.state for info in await store.generations("contacts")] == ["live"]


@asynccontextmanager
async def rebuilding(made: World, store: ReadStore, lease: MemoryLease) -> AsyncIterator[asyncio.Task[int]]:
    """A rebuild that has begun a generation and is halted; it may go on afterwards."""
    gate = Gate()
    await gate.close()
    task = asyncio.create_task(build(gated(made.own.log, gate), store, Contacts(), lease=lease))
    async with asyncio.timeout(5):
        while not await store.generations("contacts"):
            await asyncio.sleep(0)
        yield task
        gate.open()
        await asyncio.wait((task,))


@pytest.mark.parametrize("second", [rebuilt, verified])
async def test_one_process_fills_a_generation(
    store: ReadStore, second: Callable[..., Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one is told so, also by a store that would let both write; the first one's work stays."""
    monkeypatch.setattr(filling, "TAKE_S_MAX", 0.01)
    made = World()
    await three(made)
    async with rebuilding(made, store, lease(made)) as first:
        with pytest.raises(Conflict, match="by another process"):
            await second(made, store, Contacts())
    await store.switch("contacts", first.result())
    assert await bob(store) == "de"
    await second(made, store, Contacts())


async def test_a_process_that_lost_the_lease_stops(store: ReadStore) -> None:
    """What it was filling is neither offered nor dropped: it is the next one's to go on with."""
    made = World()
    await three(made)
    async with rebuilding(made, store, lease(made)) as first:
        made.streams.leases[lease_name("contacts")] = Lifeline()
        made.streams.wake()
        with pytest.raises(Conflict, match="was lost"):
            await first
    assert [info.state for info in await store.generations("contacts")] == ["building"]


class Checked(Contacts):
    """Contacts whose checks come, and never end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def check(self, generation: Generation) -> list[str]:
        self.begun.set()
        await asyncio.Event().wait()
        return []


async def test_a_process_that_lost_the_lease_stores_nothing_more(tmp_path: Path) -> None:
    """Not with the end of its store either: somebody else writes there by then, perhaps by mended code."""
    made, projection = World(), Checked()
    await three(made)
    async with read_store(tmp_path) as store:
        task = asyncio.create_task(build(made.own.log, store, projection, lease=lease(made)))
        async with asyncio.timeout(5):
            await projection.begun.wait()
        made.streams.leases[lease_name("contacts")] = Lifeline()
        made.streams.wake()
        with pytest.raises(Conflict, match="was lost"):
            await task
    async with read_store(tmp_path) as store:
        generation = await store.generation("contacts", 1, Contacts().tables)
        assert await generation.checkpoint("contacts", EVENTS) is None
        del made.streams.leases[lease_name("contacts")]
        await rebuilt(made, store, Contacts())
        assert await bob(store) == "de"


async def test_a_comparison_that_lost_the_lease_drops_nothing(store: ReadStore) -> None:
    """The generation that it compared by may be in another process' hands by now."""
    made = World()
    await three(made)
    await rebuilt(made, store, Contacts())

    @asynccontextmanager
    async def taken_away() -> AsyncIterator[None]:
        made.streams.leases[lease_name("contacts")] = Lifeline()
        made.streams.wake()
        yield
        await asyncio.Event().wait()

    with pytest.raises(Conflict, match="was lost"):
        await verify(made.own.log, store, Contacts(), lease=lease(made), hold_still=taken_away)
    assert [info.state for info in await store.generations("contacts")] == ["live", "building"]
