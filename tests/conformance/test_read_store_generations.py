"""What every read store promises of generations: begun, offered, switched, dropped; and of their checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext

import msgspec
import pytest

from domain.errors import Conflict, NotFound, Unavailable
from domain.recorded import DELIVERY, EVENTS, Checkpoint, Recorded
from infra.readstore.store import ReadStore
from processes.models import filling
from processes.models.verify import verify
from projections.port import Generation, Put, ReadModels, Table, Write
from tests.conformance.read_store_openings import Connect, begun, filled, live
from tests.memory.lifeline import Lifeline
from tests.memory.ports.feeding import MemoryLease
from tests.memory.world import World

# Checkpoints


async def test_checkpoints_are_kept_per_stream_and_generation(store: ReadStore, table: Table) -> None:
    """Each generation knows where it stands in each stream; the store answers for the live one."""
    assert await store.checkpoint(table.projection, EVENTS) is None
    first = await live(store, table)
    here = Checkpoint(EVENTS, 5, "epoch", "abc")
    await first.apply([], [here, Checkpoint(DELIVERY, 7, "epoch")])
    await first.apply([], [Checkpoint(DELIVERY, 9, "epoch")])
    second = await begun(store, table)
    assert await second.checkpoint(table.projection, EVENTS) is None
    assert await store.checkpoint(table.projection, EVENTS) == here
    assert await first.checkpoint(table.projection, DELIVERY) == Checkpoint(DELIVERY, 9, "epoch")


# Generations


async def test_nothing_is_read_before_there_is_a_live_generation(store: ReadStore, table: Table) -> None:
    """Reads of a projection that was never built say so; one being built is not read by others."""
    with pytest.raises(Unavailable, match="not built"):
        await store.get(table, ("main", "d", 1))
    building = await begun(store, table)
    await filled(building, table, 1)
    assert len(await building.range(table, ("main",))) == 1
    with pytest.raises(Unavailable, match="not built"):
        await store.range(table, ("main",))


async def test_an_unfinished_generation_goes_on(store: ReadStore, connect: Connect, table: Table) -> None:
    """Beginning again after a crash gives the same generation with its rows and checkpoints; a new version, another."""
    first = await begun(store, table)
    await first.apply([Put(table, ("main", "d", 1), {"count": 1}, 1)], [Checkpoint(EVENTS, 1, "e")])
    assert await store.begin(table.projection, 1) == first.number
    await store.offer(table.projection, first.number)  # lets go of it
    async with connect() as other:
        again = await other.generation(table.projection, first.number, [table])
        assert await again.checkpoint(table.projection, EVENTS) == Checkpoint(EVENTS, 1, "e")
        assert (await again.digest(table))[0] == 1
    assert await store.begin(table.projection, 2) != first.number


async def test_a_generation_that_is_abandoned_is_the_next_ones(
    store: ReadStore, connect: Connect, table: Table
) -> None:
    """What was stored before stays; what was not yet never is, not with the end of the store either."""
    generation = await begun(store, table)
    await generation.apply([Put(table, ("main", "d", 1), {"count": 1}, 1)], [Checkpoint(EVENTS, 1, "e")])
    assert await generation.checkpoint(table.projection, EVENTS) is not None
    await generation.apply([Put(table, ("main", "d", 2), {"count": 2}, 2)], [Checkpoint(EVENTS, 2, "e")])
    await store.abandon(generation)
    async with connect() as other:
        assert await other.begin(table.projection, 1) == generation.number
        again = await other.generation(table.projection, generation.number, [table])
        assert await again.checkpoint(table.projection, EVENTS) == Checkpoint(EVENTS, 1, "e")
        assert len(await again.range(table, ("main",))) == 1


async def test_the_life_of_a_generation(store: ReadStore, table: Table) -> None:
    """building, offered, live, retired: one is live at a time, and an old one can be offered again."""

    async def states() -> list[str]:
        return [info.state for info in await store.generations(table.projection)]

    first, second = await live(store, table), await begun(store, table)
    assert await states() == ["live", "building"]
    await store.offer(table.projection, second.number)
    assert await states() == ["live", "offered"]
    assert await store.offered(table.projection) == second.number
    await store.switch(table.projection, second.number)
    assert await states() == ["retired", "live"]
    assert (await store.live(table.projection), await store.offered(table.projection)) == (
        second.number,
        None,
    )
    await store.offer(table.projection, first.number)
    await store.switch(table.projection, first.number)
    assert await states() == ["live", "retired"]
    await store.offer(table.projection, first.number)
    assert await store.offered(table.projection) is None


async def test_only_one_generation_is_offered(store: ReadStore, table: Table) -> None:
    """A second offer takes the place of the first."""
    await live(store, table)
    first = await begun(store, table)
    await store.offer(table.projection, first.number)
    second = await begun(store, table)
    await store.offer(table.projection, second.number)
    assert await store.offered(table.projection) == second.number


async def test_a_generation_keeps_its_tables(store: ReadStore, connect: Connect, table: Table) -> None:
    """Opening it with other tables is refused; the order of columns says nothing."""
    first = await begun(store, table)
    await store.offer(table.projection, first.number)
    changed = msgspec.structs.replace(table, columns={**table.columns, "more": "text"})
    turned = msgspec.structs.replace(table, columns=dict(reversed(list(table.columns.items()))))
    async with connect() as other:
        with pytest.raises(Conflict, match="other tables"):
            await other.generation(table.projection, first.number, [changed])
        await other.generation(table.projection, first.number, [turned])


async def test_newer_code_reads_what_older_code_built(store: ReadStore, table: Table) -> None:
    """Until the rebuild is done a new column is read as None, and a new table is not there yet."""
    generation = await live(store, table)
    await filled(generation, table, 1)
    newer = msgspec.structs.replace(table, columns={**table.columns, "more": "text"})
    added = msgspec.structs.replace(table, name=f"{table.name}_more")
    assert (await store.range(newer, ("main",)))[0]["more"] is None
    with pytest.raises(Unavailable, match="rebuilt"):
        await store.range(added, ("main",))


async def test_a_switch_is_seen_everywhere(store: ReadStore, connect: Connect, table: Table) -> None:
    """Readers in other processes go over to the new generation within a second, without a failed read."""
    first = await live(store, table)
    await first.apply([Put(table, ("main", "d", 1), {"count": 1}, 1)], [])
    second = await begun(store, table)
    await second.apply([Put(table, ("main", "d", 1), {"count": 2}, 1)], [])

    async def reads(models: ReadModels) -> float:
        """Read until the second generation shows; when it did."""
        while (row := await models.get(table, ("main", "d", 1))) is not None and row["count"] == 1:
            await asyncio.sleep(0.005)
        assert row is not None
        return asyncio.get_running_loop().time()

    async with connect() as other:
        reading = [asyncio.create_task(reads(models)) for models in (store, other)]
        await other.get(table, ("main", "d", 1))
        await store.switch(table.projection, second.number)
        switched = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            seen = await asyncio.gather(*reading)
    assert max(seen) - switched < 1.5


async def test_a_dropped_generation_is_gone(store: ReadStore, connect: Connect, table: Table) -> None:
    """A reader that still held the old one reads the new one; the number can be used again, and is empty then."""
    first = await live(store, table)
    await first.apply([Put(table, ("main", "d", 1), {"count": 1}, 1)], [Checkpoint(EVENTS, 4, "e")])
    second = await begun(store, table)
    async with connect() as other:
        await other.get(table, ("main", "d", 1))
        await store.switch(table.projection, second.number)
        await store.drop(table.projection, first.number)
        async with asyncio.timeout(5):
            while await other.get(table, ("main", "d", 1)) is not None:
                await asyncio.sleep(0.01)
    with pytest.raises(NotFound):
        await store.generation(table.projection, first.number, [table])
    third = await begun(store, table)
    await store.drop(table.projection, third.number)
    again = await begun(store, table)
    assert again.number == third.number
    assert again.created > third.created, "what tells the two apart"
    assert (await again.digest(table), await again.checkpoint(table.projection, EVENTS)) == (
        (0, "0" * 64),
        None,
    )


async def test_what_is_live_is_not_dropped(store: ReadStore, table: Table) -> None:
    """The live generation stays; one that is not there is dropped already."""
    generation = await live(store, table)
    with pytest.raises(Conflict, match="live"):
        await store.drop(table.projection, generation.number)
    await store.drop(table.projection, generation.number + 1)


class Filled:
    """A projection of one table."""

    version, streams = 1, (EVENTS,)

    def __init__(self, table: Table) -> None:
        self.name, self.tables = table.projection, (table,)

    def project(self, fact: Recorded) -> Iterable[Write]:
        return ()

    async def check(self, generation: Generation) -> list[str]:
        return []


async def test_one_process_fills_a_generation(
    store: ReadStore, connect: Connect, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one is refused before it touches anything, and the first one goes on writing."""
    monkeypatch.setattr(filling, "TAKE_S_MAX", 0.01)
    made, projection = World(), Filled(table)
    first, second = (MemoryLease(made.streams, "generation", Lifeline()) for _ in range(2))
    async with connect() as other, filling.filling(made.own.log, store, projection, first) as generation:
        with pytest.raises(Conflict, match="another process"):
            await verify(made.own.log, other, projection, lease=second, hold_still=nullcontext)
        await generation.apply([Put(table, ("main", "d", 1), {"count": 1}, 1)], [])
        assert (await generation.digest(table))[0] == 1
        assert await other.live(table.projection) is None
