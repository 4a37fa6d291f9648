"""How rows lie in a SQLite file says nothing about what is read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import msgspec

from infra.readstore import ddl
from infra.readstore.shape import Shape
from infra.readstore.sqlite.store import SqliteReadStore
from projections.port import Put, Table

ALONE = Table(
    projection="alone", name="alone", partition={"realm": "text", "id": "uuid"}, columns={"count": "bigint"}
)
IN_ORDER = Table(
    projection="alone",
    name="in_order",
    partition={"realm": "text"},
    clustering={"id": "uuid"},
    columns={"count": "bigint"},
)


AS_THEY_COME = msgspec.structs.replace(IN_ORDER, name="as_they_come", as_they_come=True)


def test_rows_lie_in_the_order_of_their_key_where_they_are_read_so() -> None:
    """Those that stand alone are found by an index, as are those of a table that asks for it."""
    assert ddl.sqlite_table(Shape(IN_ORDER)).endswith("STRICT, WITHOUT ROWID")
    assert ddl.sqlite_table(Shape(ALONE)).endswith(") STRICT")
    assert ddl.sqlite_table(Shape(AS_THEY_COME)).endswith(") STRICT")


async def test_rows_that_lie_as_they_came_are_read_in_order(tmp_path: Path) -> None:
    """A range brings them by their key, a scan each of them once."""
    puts = [Put(AS_THEY_COME, ("main", UUID(int=n * 7919 % 2503)), {"count": n}, n + 1) for n in range(2500)]
    async with SqliteReadStore(tmp_path) as store:
        number = await store.begin("alone", 1)
        generation = await store.generation("alone", number, [AS_THEY_COME])
        await generation.apply(puts, [])
        rows = await generation.range(AS_THEY_COME, ("main",), after=(UUID(int=99),), limit=1000)
        assert [row["id"].int for row in rows] == sorted(
            put.key[1].int for put in puts if put.key[1].int > 99
        )[:1000]
        scanned = [row["count"] async for page in generation.scan(AS_THEY_COME) for row in page]
        assert sorted(scanned) == list(range(2500))


async def test_a_generation_of_an_older_version_reads_the_same(tmp_path: Path) -> None:
    """Its rows lie in the order of their keys: it is written, read and compared with a new one as ever."""
    puts = [Put(ALONE, ("main", UUID(int=n * 7919 % 2503)), {"count": n}, n + 1) for n in range(2500)]
    async with SqliteReadStore(tmp_path) as store:
        old = await store.begin("alone", 1)
        await store.generation("alone", old, [ALONE])
        await store.offer("alone", old)
        with closing(sqlite3.connect(tmp_path / f"alone-{old}.db")) as connection:
            connection.execute("DROP TABLE alone")
            connection.execute(f"{ddl.sqlite_table(Shape(ALONE))}, WITHOUT ROWID")
        former = await store.generation("alone", old, [ALONE])
        newer = await store.generation("alone", await store.begin("alone", 2), [ALONE])
        for generation in (former, newer):
            for start in range(0, 2500, 500):
                await generation.apply(puts[start : start + 500], [])
        assert await former.digest(ALONE) == await newer.digest(ALONE)
        scanned = [[row async for page in each.scan(ALONE) for row in page] for each in (former, newer)]
        assert len(scanned[0]) == 2500
        assert sorted(scanned[0], key=str) == sorted(scanned[1], key=str)
