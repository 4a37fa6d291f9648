"""Read models in memory, by the letter of projections.port: newest position wins, cell by cell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from domain.errors import Unavailable
from domain.recorded import Checkpoint
from infra.readstore.cells import DECODERS, ENCODERS
from infra.readstore.shape import Digest, Shape
from projections.port import ColumnType, Delete, Key, Put, Row, Table, Write, singly
from tests.memory.clock import START
from tests.memory.lifeline import Lifeline

_BEGUN = count(1)


@dataclass(slots=True)
class Cells:
    """One row: (position, value) of each column, and the newest Put and Delete."""

    values: dict[str, tuple[int, Any]] = field(default_factory=dict)
    put_at: int = 0
    deleted_at: int = 0

    def apply(self, write: Put | Delete) -> None:
        if isinstance(write, Delete):
            self.deleted_at = max(self.deleted_at, write.position)
            return
        self.put_at = max(self.put_at, write.position)
        for name, value in write.values.items():
            if name not in self.values or self.values[name][0] < write.position:
                self.values[name] = (write.position, _plain(value, write.table.columns[name]))

    @property
    def visible(self) -> bool:
        return self.put_at > self.deleted_at

    def read(self, name: str) -> Any:
        at, value = self.values.get(name, (0, None))
        return value if at > self.deleted_at else None


def _plain(value: Any, kind: ColumnType) -> Any:
    """As a store would give it back."""
    if value is None:
        return None
    stored = ENCODERS[kind](value)
    return DECODERS[kind](stored) if kind in DECODERS else stored


class MemoryReadModels:
    """All projections' tables, and their one generation each. down: every call fails.

    created: of the generations; others have others.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Cells]] = {}
        self._partitions: dict[tuple[str, Key], set[Key]] = {}
        self.checkpoints: dict[tuple[str, str], Checkpoint] = {}
        self.down = False
        self.created = START - timedelta(days=1) + timedelta(milliseconds=next(_BEGUN))

    def generation(self, projection: str, life: Lifeline | None = None) -> MemoryGeneration:
        return MemoryGeneration(self, projection, life or Lifeline())

    async def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        self._assert_up()
        rows = self.tables.get(table.name, {})
        yield [_row(table, key, cells) for key, cells in rows.items() if cells.visible]

    async def get(self, table: Table, key: Key) -> Row | None:
        self._assert_up()
        cells = self._rows(table).get(_key(table, key))
        return _row(table, _key(table, key), cells) if cells and cells.visible else None

    async def get_many(self, table: Table, keys: Sequence[Key]) -> list[Row | None]:
        return [await self.get(table, key) for key in keys]

    async def range(
        self,
        table: Table,
        partition: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        limit: int = 500,
        backwards: bool = False,
    ) -> list[Row]:
        self._assert_up()
        width, down = len(table.partition), table.newest_first != backwards
        rows = self._rows(table)
        found = self._partitions.get((table.name, tuple(partition)), set())
        keys = sorted((key for key in found if rows[key].visible), reverse=down)

        def beyond(key: Key, bound: Key) -> bool:
            part = key[width : width + len(bound)]
            return part < tuple(bound) if down else part > tuple(bound)

        def short_of(key: Key, bound: Key) -> bool:
            part = key[width : width + len(bound)]
            return part > tuple(bound) if down else part < tuple(bound)

        keys = [key for key in keys if after is None or beyond(key, after)]
        keys = [key for key in keys if before is None or short_of(key, before)]
        return [_row(table, key, rows[key]) for key in keys[:limit]]

    async def range_many(
        self, table: Table, partitions: Sequence[Key], *, limit_each: int = 500
    ) -> dict[Key, list[Row]]:
        return {tuple(each): await self.range(table, each, limit=limit_each) for each in partitions}

    async def checkpoint(self, projection: str, stream: str) -> Checkpoint | None:
        self._assert_up()
        return self.checkpoints.get((projection, stream))

    def content(self) -> dict[str, dict[Key, Row]]:
        """All that can be read, to compare two histories."""
        return {
            name: {
                key: {column: cells.read(column) for column in cells.values}
                for key, cells in sorted(rows.items(), key=str)
                if cells.visible
            }
            for name, rows in self.tables.items()
        }

    def apply(self, writes: Sequence[Write]) -> None:
        self._assert_up()
        given: dict[tuple[str, Key, int, str], Any] = {}
        for write in singly(writes):
            _assert_fits(write)
            for name, value in write.values.items() if isinstance(write, Put) else ():
                cell = (write.table.name, write.key, write.position, name)
                assert given.setdefault(cell, value) == value, f"one fact gives {cell} two values"
            key = _key(write.table, write.key)
            self._rows(write.table).setdefault(key, Cells()).apply(write)
            partition = key[: len(write.table.partition)]
            self._partitions.setdefault((write.table.name, partition), set()).add(key)

    def _rows(self, table: Table) -> dict[Key, Cells]:
        return self.tables.setdefault(table.name, {})

    def _assert_up(self) -> None:
        if self.down:
            raise Unavailable("the read store does not answer")


class MemoryGeneration:
    """projections.port.Generation of one projection."""

    def __init__(self, models: MemoryReadModels, projection: str, life: Lifeline) -> None:
        self.projection, self.number, self.created = projection, 1, models.created
        self._models, self._life = models, life
        self.get, self.get_many = models.get, models.get_many
        self.range, self.range_many = models.range, models.range_many
        self.checkpoint = models.checkpoint

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        await self._life.alive()
        assert all(write.table.projection == self.projection for write in writes)
        self._models.apply(writes)
        await self._life.step("rows")
        for checkpoint in checkpoints:
            self._models.checkpoints[self.projection, checkpoint.stream] = checkpoint
        await self._life.step("checkpoint")

    async def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        async for rows in self._models.scan(table):
            yield rows

    async def digest(self, table: Table) -> tuple[int, str]:
        digest, shape, count = Digest(), Shape(table), 0
        async for page in self.scan(table):
            for row in page:
                digest.add(shape.canonical(row))
                count += 1
        return count, digest.hexdigest()


def _key(table: Table, key: Key) -> Key:
    kinds = (*table.partition.values(), *table.clustering.values())
    return tuple(_plain(value, kind) for value, kind in zip(key, kinds, strict=True))


def _row(table: Table, key: Key, cells: Cells) -> Row:
    names = (*table.partition, *table.clustering)
    return {**dict(zip(names, key, strict=True)), **{name: cells.read(name) for name in table.columns}}


def _assert_fits(write: Put | Delete) -> None:
    """A write names a whole key and only columns of its table."""
    table = write.table
    assert len(write.key) == len(table.partition) + len(table.clustering), table.name
    assert None not in write.key, f"{table.name}: a key is whole"
    if isinstance(write, Put):
        assert write.values.keys() <= table.columns.keys(), f"{table.name}: {write.values.keys()}"
