"""SQLite among processes: kills at any moment, readers beside the writer, one writer only, damaged files."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from domain.errors import Conflict, Unavailable
from domain.recorded import EVENTS
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from projections.port import Put
from tests.integration.readstore.projecting_child import PAGE_ROWS, TABLE, page_of

ROOT = Path(__file__).parents[3]


class Child:
    """A projecting process; `page` is the last one it said it had stored."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.page = 0

    async def says(self, page: int) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while self.page < page:
                line = await self._process.stdout.readline()
                assert line, "the child has ended"
                self.page = int(line)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def projecting(folder: Path) -> AsyncIterator[Child]:
    command = [sys.executable, "-m", "tests.integration.readstore.projecting_child", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    child = Child(process)
    try:
        yield child
    finally:
        await child.kill()


def files_of(projection: str, folder: Path) -> list[Path]:
    return list(folder.glob(f"{projection}-*"))


async def whole_pages(store: ReadStore) -> int:
    """The checkpoint's page; every row up to it is there, and none beyond."""
    checkpoint = await store.checkpoint(TABLE.projection, EVENTS)
    last = checkpoint.position if checkpoint else 0
    rows = await store.range(TABLE, ("main",), limit=10_000)
    assert [row["number"] for row in rows] == list(range(PAGE_ROWS, (last + 1) * PAGE_ROWS))
    return last


async def test_a_killed_writer_leaves_whole_pages(tmp_path: Path) -> None:
    """After SIGKILL in the midst of writing, rows and checkpoint agree, and nothing that was said is missing."""
    last = 0
    for _ in range(4):
        async with projecting(tmp_path) as child:
            await child.says(last + 7)
            await child.kill()
            async with read_store(tmp_path) as store:
                found = await whole_pages(store)
        assert found >= child.page > last
        last = found


async def test_others_read_while_one_writes(tmp_path: Path) -> None:
    """Reads beside a writing process never fail, and see whole pages only."""
    async with projecting(tmp_path) as child:
        await child.says(3)
        async with read_store(tmp_path) as store:
            for _ in range(20):
                rows = await store.range(TABLE, ("main",), limit=10_000)
                assert len(rows) % PAGE_ROWS == 0
                seen = await store.checkpoint(TABLE.projection, EVENTS)
                assert seen is not None
                assert seen.position >= child.page
                await child.says(child.page + 1)


async def test_one_process_writes(tmp_path: Path) -> None:
    """A second process can't open a generation for writing, until the first has ended, however it ended."""
    async with projecting(tmp_path) as child:
        await child.says(1)
        async with read_store(tmp_path) as store:
            with pytest.raises(Conflict, match="another process"):
                await store.generation(TABLE.projection, 1, [TABLE])
            await child.kill()
            generation = await store.generation(TABLE.projection, 1, [TABLE])
            await generation.apply(page_of(child.page + 5), [])


async def test_a_generation_being_filled_is_not_dropped(tmp_path: Path) -> None:
    """While a process fills it, nobody takes it away; afterwards it can go."""
    building = msgspec.structs.replace(TABLE, projection="filling")
    async with read_store(tmp_path) as store, read_store(tmp_path) as other:
        number = await store.begin("filling", 1)
        await store.generation("filling", number, [building])
        with pytest.raises(Conflict, match="another process"):
            await other.drop("filling", number)
        await store.offer("filling", number)
        await other.drop("filling", number)
        assert await other.generations("filling") == []
    assert files_of("filling", tmp_path) == []


async def test_a_damaged_file_is_told_as_unavailable(tmp_path: Path) -> None:
    """A file that is no database, or has lost its content, never looks like an empty one."""
    async with read_store(tmp_path) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        await store.switch(TABLE.projection, number)
        await generation.apply(page_of(1), [])
    path = tmp_path / f"{TABLE.projection}-{number}.db"
    path.write_bytes(b"not a database" * 1000)
    async with read_store(tmp_path) as store:
        with pytest.raises(Unavailable):
            await store.get(TABLE, ("main", 10))
    path.write_bytes(b"")
    async with read_store(tmp_path) as store:
        with pytest.raises(Unavailable):
            await store.get(TABLE, ("main", 10))


async def test_long_and_short_reads_see_the_same(tmp_path: Path) -> None:
    """Whether a read runs on the loop or in a reader thread makes no difference, many at once neither."""
    async with read_store(tmp_path) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        await store.switch(TABLE.projection, number)
        for page in range(1, 100):
            await generation.apply(page_of(page), [])

        async def rows(limit: int) -> int:
            return len(await store.range(TABLE, ("main",), limit=limit))

        writing = [
            generation.apply([Put(TABLE, ("main", 10), {"page": n}, 10_000 + n)], []) for n in range(50)
        ]
        lengths = await asyncio.gather(*(rows(limit) for limit in (10, 900) for _ in range(20)), *writing)
    assert [length for length in lengths if length is not None] == [10] * 20 + [900] * 20
