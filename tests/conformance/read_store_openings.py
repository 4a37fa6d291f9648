"""How the suites of the read store open it: each backend, and each table of a projection of its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from infra.readstore.store import ReadStore
from projections.port import Generation, Key, Put, Table

NAMES = count(1)

Connect = Callable[[], ReadStore]


async def begun(store: ReadStore, *tables: Table, version: int = 1) -> Generation:
    number = await store.begin(tables[0].projection, version)
    return await store.generation(tables[0].projection, number, tables)


async def live(store: ReadStore, *tables: Table) -> Generation:
    generation = await begun(store, *tables)
    await store.switch(tables[0].projection, generation.number)
    return generation


async def filled(generation: Generation, table: Table, rows: int) -> list[Key]:
    """Rows in one partition, three a day; their clustering keys in order."""
    keys = [(f"day {number // 3:03d}", number) for number in range(rows)]
    puts = [Put(table, ("main", *key), {"count": key[1]}, 1 + key[1]) for key in keys]
    await generation.apply(puts, [])
    return list(keys)


def counts(rows: list[dict[str, Any]]) -> list[int]:
    return [row["count"] for row in rows]
