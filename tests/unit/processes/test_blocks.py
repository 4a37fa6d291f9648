"""Sums of blocks: each finished block once and whole, however reading is cut into batches, starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.contacts import PutContact
from domain.contact import Contact
from domain.recorded import EVENTS, Recorded
from processes.models import blocks
from processes.models.blocks import open_block
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from projections.port import Generation, Put, Summing, Table, Write
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.world import World

SIZE = 4
NOTES = Table(
    projection="noted",
    name="notes",
    partition={"realm": "text"},
    clustering={"at": "bigint"},
    columns={"is": "bigint"},
)
SUMS = Table(
    projection="noted",
    name="sums",
    partition={"realm": "text"},
    clustering={"block": "bigint"},
    columns={"sum": "bigint", "unsummed": "boolean"},
)


class Noted:
    """Notes the position of every fact; breaks: on this position it fails as a bug would."""

    name, version, streams, tables = "noted", 1, (EVENTS,), (NOTES, SUMS)
    block, blocks_of, summed = SIZE, EVENTS, NOTES

    def __init__(self, breaks: int = 0, unstorable: int = 0) -> None:
        self.breaks, self.unstorable = breaks, unstorable

    def project(self, fact: Recorded) -> Iterable[Write]:
        if fact.position == self.breaks:
            raise KeyError("bug")
        if isinstance(fact.body, Contact.Created):
            value: Any = "no number" if fact.position == self.unstorable else fact.position
            yield Put(NOTES, ("main", fact.position), {"is": value}, fact.position)

    def sums(self, block: int, puts: Sequence[Put]) -> Iterable[Write]:
        total = sum(put.key[1] for put in puts)
        yield Put(SUMS, ("main", block), {"sum": total}, (block + 1) * SIZE - 1)

    def unsummed(self, block: int) -> Iterable[Write]:
        yield Put(SUMS, ("main", block), {"unsummed": True}, (block + 1) * SIZE - 1)

    async def check(self, generation: Generation) -> list[str]:
        return []


async def world(contacts: int) -> World:
    made = World()
    for number in range(contacts):
        await made.do(PutContact(uid=f"uid-{number}"))
    return made


async def project(made: World, models: MemoryReadModels, projection: Noted, until: int) -> None:
    """As one process does, from its start to its end."""
    given = [(projection, models.generation(projection.name))]
    async with asyncio.timeout(5):
        await Projector(made.own.log, EVENTS, given, Watermark(models, local=True)).run(until=until)


def expected(until: int, *, without: int = 0) -> dict[int, int]:
    """The sums of all blocks that are finished at a position."""
    blocks_of = range((until + 1) // SIZE)
    return {n: sum(at for at in range(n * SIZE, n * SIZE + SIZE) if at != without) for n in blocks_of}


async def sums(models: MemoryReadModels) -> dict[int, int]:
    return {row["block"]: row["sum"] for row in await models.range(SUMS, ("main",))}


def test_statistics_sum_blocks_and_others_do_not() -> None:
    """What a projection offers is seen by what it has, so its names must be those of the port."""
    from projections.catalogue import ALL

    assert [each.name for each in ALL if isinstance(each, Summing)] == ["statistics"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=6))
async def test_wherever_reading_starts_anew_blocks_are_whole(stops: list[int]) -> None:
    """A process that ends in the middle of a block leaves its sum to the next one, and both say the same."""
    made, models = await world(30), MemoryReadModels()
    for stop in [*sorted(stops), 30]:
        await project(made, models, Noted(), stop)
    assert await sums(models) == expected(30)


@pytest.mark.parametrize("broken", [{"breaks": 6}, {"unstorable": 6}])
@pytest.mark.parametrize("stops", [(30,), (5, 30), (6, 30), (7, 30)])
async def test_what_is_put_aside_is_not_summed(broken: dict[str, int], stops: tuple[int, ...]) -> None:
    """Sums are of the rows that there are, also where a fact was put aside before a new start."""
    made, models = await world(30), MemoryReadModels()
    for stop in stops:
        await project(made, models, Noted(**broken), stop)
    assert await sums(models) == expected(30, without=6)


async def test_what_was_put_aside_is_not_summed_by_mended_code_either() -> None:
    """It has no row in this generation, whatever could be made of it now; what comes later waits behind it still."""
    made, models = await world(6), MemoryReadModels()
    await project(made, models, Noted(breaks=6), 6)
    for number in range(6, 30):
        await made.do(PutContact(uid=f"uid-{number}"))
    await project(made, models, Noted(), 30)
    assert await sums(models) == expected(30, without=6)
    await made.do(PutContact(uid="uid-5", locale="it"))
    await project(made, models, Noted(), end := 31)
    assert [each.position for each in made.streams.aside.values()] == [6, end]


async def test_a_block_whose_beginning_is_forgotten_is_said_to_have_no_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the log keeps only what is young, readers are told to add that block up themselves."""
    made, models = await world(30), MemoryReadModels()
    monkeypatch.setattr(blocks, "READ_AT_ONCE", 1)
    await project(made, models, Noted(), 6)
    kept = await made.own.log.read(EVENTS, ">", after=5)

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(made.own.log, name)

        async def read(self, stream: str, subject: str, *, after: int = 0, limit: int = 1_000) -> Any:
            return [fact for fact in kept if fact.position > after][:limit]

    projection, writes = Noted(), list[Write]()

    async def take(fact: Recorded) -> list[Write]:
        return list(projection.project(fact))

    forgetful: Any = Forgetful()
    block = await open_block(forgetful, EVENTS, projection, 6, take)
    assert block is not None
    assert not block.is_whole
    for fact in kept[1:]:
        made_of = list(projection.project(fact))
        writes += block.sums(made_of, fact.position)
        block.keep(made_of, fact.position)
    found = {put.key[1]: dict(put.values) for put in writes if isinstance(put, Put)}
    assert found[1] == {"unsummed": True}
    assert found[2] == {"sum": expected(30)[2]}
