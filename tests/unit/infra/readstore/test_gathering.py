"""Pages of a generation that is being built: gathered, stored in the background, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from domain.errors import Unavailable
from domain.recorded import EVENTS, Checkpoint
from infra.readstore.gathering import PAGES_MAX, Pages, PageWriter
from projections.port import Put, Table

TABLE = Table(projection="samples", name="samples", partition={"number": "bigint"}, columns={"words": "text"})


class Rows:
    """A database that can be down; what it holds, and the checkpoint it was last given."""

    def __init__(self) -> None:
        self.numbers: list[object] = []
        self.checkpoint = 0
        self.calls = 0
        self.down = False
        self.open = asyncio.Event()
        self.open.set()

    async def make(self, pages: Pages) -> list[object]:
        return [number for page in pages for number in page.cells("number")]

    async def store(self, numbers: Sequence[object], checkpoints: Sequence[Checkpoint]) -> None:
        await self.open.wait()
        self.calls += 1
        if self.down:
            raise Unavailable("down")
        self.numbers += numbers
        self.checkpoint = max([self.checkpoint, *(one.position for one in checkpoints)])


def page(number: int) -> tuple[list[Put], list[Checkpoint]]:
    return [Put(TABLE, (number,), {"words": "w"}, number)], [Checkpoint(EVENTS, number, "e")]


async def test_what_is_live_is_stored_at_once() -> None:
    """Each page is there when `apply` returns, and an error is that page's."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=False)
    await writer.apply(*page(1))
    assert rows.numbers == [1]
    rows.down = True
    with pytest.raises(Unavailable):
        await writer.apply(*page(2))


async def test_pages_are_stored_beside_the_next_ones() -> None:
    """Gathered pages go out together while more are taken; no more than two gatherings are held."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    rows.open.clear()
    for number in range(1, 2 * PAGES_MAX + 1):
        await writer.apply(*page(number))
    waiting = asyncio.create_task(writer.apply(*page(2 * PAGES_MAX + 1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    rows.open.set()
    await waiting
    await writer.settle()
    assert (rows.numbers, rows.calls) == (list(range(1, 2 * PAGES_MAX + 2)), 3)
    assert rows.checkpoint == 2 * PAGES_MAX + 1


class Gated(Rows):
    """The second time that something is stored takes until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.second = 0, asyncio.Event()

    async def store(self, numbers: Sequence[object], checkpoints: Sequence[Checkpoint]) -> None:
        self.begun += 1
        if self.begun == 2:
            await self.second.wait()
        await super().store(numbers, checkpoints)


async def test_several_streams_may_be_applied_at_once() -> None:
    """Who finds a full gathering waits for his turn: pages are stored in order, and to settle is to wait for all."""
    rows = Gated()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    rows.open.clear()
    for number in range(1, 2 * PAGES_MAX + 1):
        await writer.apply(*page(number))
    late = [asyncio.create_task(writer.apply(*page(2 * PAGES_MAX + each))) for each in (1, 2)]
    await asyncio.sleep(0)
    rows.open.set()
    await asyncio.gather(*late)
    settling = asyncio.create_task(writer.settle())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not settling.done()
    rows.second.set()
    await settling
    assert rows.numbers == list(range(1, 2 * PAGES_MAX + 3))


async def test_a_failure_loses_nothing() -> None:
    """While the database is down `apply` says so; the caller tries again, and afterwards every page is there."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    rows.down = True
    number = failures = 0
    while number < 5 * PAGES_MAX:
        try:
            await writer.apply(*page(number + 1))
        except Unavailable:
            failures += 1
            rows.down = failures < 3
        else:
            number += 1
    await writer.settle()
    assert failures == 3
    assert set(rows.numbers) == set(range(1, number + 1))
    assert rows.checkpoint == number


async def test_a_checkpoint_never_goes_before_its_rows() -> None:
    """Whenever the database has a checkpoint it has all rows up to it."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    for number in range(1, 5 * PAGES_MAX):
        await writer.apply(*page(number))
        await asyncio.sleep(0)
        assert set(range(1, rows.checkpoint + 1)) <= set(rows.numbers)


async def test_a_wrong_write_is_told_at_once() -> None:
    """A bug of the projection shows at its own page, not at a later one."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    with pytest.raises(ValueError, match="text"):
        await writer.apply([Put(TABLE, (1,), {"words": 1}, 1)], [])


async def test_once_published_nothing_is_held_back() -> None:
    """Publishing stores what was gathered, and from then on each page at once."""
    rows = Rows()
    writer = PageWriter([TABLE], rows.make, rows.store, gather=True)
    await writer.apply(*page(1))
    assert rows.numbers == []
    await writer.publish()
    await writer.apply(*page(2))
    assert rows.numbers == [1, 2]
