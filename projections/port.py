"""What projections need: tables declared once, writes in, rows out. Two backends behind one suite of tests.

Semantics, the same on every backend:
- Each cell (column of a row) keeps the value with the highest position; a lower or equal position never
  changes it. So replays, duplicates and disorder change nothing.
- A Put also marks the row as present at its position; a Delete at P hides the row mark and all cells at or
  below P, for ever. A row is visible while a Put is newer than its last Delete.
- A column is fed by one stream; a table fed by two streams is never row-deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from domain.recorded import Checkpoint, Recorded

ColumnType = Literal["uuid", "text", "bigint", "double", "boolean", "timestamp", "blob", "json"]
"""json: any JSON value, stored as text."""

Row = dict[str, Any]
Key = tuple[Any, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A read model's table. partition (realm first) + clustering identify a row.

    columns: everything else. newest_first: clustering order within a partition. as_they_come: where a store can keep
    rows in the order in which they came, it shall: cheaper to write, dearer to read in the order of their key.
    """

    projection: str
    name: str
    partition: Mapping[str, ColumnType]
    clustering: Mapping[str, ColumnType] = {}
    columns: Mapping[str, ColumnType]
    newest_first: bool = False
    as_they_come: bool = False


class Put(msgspec.Struct, frozen=True):
    """Set `values` (None clears a cell) in the row `key` (partition + clustering), as of `position`."""

    table: Table
    key: Key
    values: Mapping[str, Any]
    position: int


class PutMany(msgspec.Struct, frozen=True):
    """A Put for each of the hundreds of rows that one fact makes, at a fraction of what one each would cost.

    same: by name, the parts of the key and the values that all rows share. own: by name, those that differ, one for
    each row, in order.
    """

    table: Table
    same: Mapping[str, Any]
    own: Mapping[str, Sequence[Any]]
    position: int

    def puts(self) -> Iterator[Put]:
        for row in zip(*self.own.values(), strict=True):
            values = {**self.same, **dict(zip(self.own, row, strict=True))}
            key = tuple(values.pop(name) for name in (*self.table.partition, *self.table.clustering))
            yield Put(self.table, key, values, self.position)


class Delete(msgspec.Struct, frozen=True):
    table: Table
    key: Key
    position: int


Write = Put | PutMany | Delete


def singly(writes: Iterable[Write]) -> Iterator[Put | Delete]:
    """The same, each of one row."""
    for write in writes:
        if isinstance(write, PutMany):
            yield from write.puts()
        else:
            yield write


class ReadModels(Protocol):
    """Queries. Rows are dicts of key and value columns; absent cells are None.

    Each table is read from its projection's live generation; a switch is seen within a second and never makes
    a read fail. Errors: domain.errors.Unavailable when the store does not answer in time.
    """

    async def get(self, table: Table, key: Key) -> Row | None: ...

    async def get_many(self, table: Table, keys: Sequence[Key]) -> list[Row | None]:
        """One answer per key, in order; one round trip where the backend can."""
        ...

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
        """Rows of one partition in clustering order, strictly after/before the given (prefix of a)
        clustering key.

        `after` and `before` are in the order of reading.
        """
        ...

    async def range_many(
        self, table: Table, partitions: Sequence[Key], *, limit_each: int = 500
    ) -> dict[Key, list[Row]]: ...

    async def checkpoint(self, projection: str, stream: str) -> Checkpoint | None:
        """Where the live generation of a projection stands in a stream."""
        ...


class Generation(ReadModels, Protocol):
    """One generation of one projection's tables, writable by the one process that projects.

    created: when it was begun; with it, a generation is told from an earlier one that had its number.
    """

    projection: str
    number: int
    created: datetime

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        """Store rows, then checkpoints (one transaction where the backend has them)."""
        ...

    def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        """All rows, each once, in pages and in no promised order."""
        ...

    async def digest(self, table: Table) -> tuple[int, str]:
        """(number of rows, hex digest): the same on every backend for the same rows, whatever their order."""
        ...


class GenerationInfo(msgspec.Struct, frozen=True):
    """state: building, offered (complete, waiting for the projecting process), live, retired (kept for a roll-back)."""

    projection: str
    number: int
    version: int
    state: Literal["building", "offered", "live", "retired"]
    created: datetime


class Generations(Protocol):
    """The generations of every projection. One is live; at most one more is being built or offered."""

    async def live(self, projection: str) -> int | None: ...

    async def offered(self, projection: str) -> int | None: ...

    async def begin(self, projection: str, version: int) -> int:
        """A generation to fill: one of this version that was left unfinished, else a new one."""
        ...

    async def generation(self, projection: str, number: int, tables: Sequence[Table]) -> Generation:
        """Open a generation for writing, its tables made where they are missing."""
        ...

    async def abandon(self, generation: Generation) -> None:
        """Let go of one that another process may fill from now on: what is not stored yet never is."""
        ...

    async def offer(self, projection: str, number: int) -> None:
        """Say that a generation is complete (or, for a roll-back, wanted again)."""
        ...

    async def switch(self, projection: str, number: int) -> None:
        """Make it live, atomically; the one that was is retired. This process reads it from now on, others within a
        second.
        """
        ...

    async def drop(self, projection: str, number: int) -> None:
        """Delete a generation that is not live."""
        ...

    async def generations(self, projection: str) -> list[GenerationInfo]:
        """All of them, oldest first."""
        ...


class Projection(Protocol):
    """Facts in, writes out: a pure function of one fact, so order and repetition don't matter.

    Raises ValueError for a fact that it cannot read (a poison event). version grows when the tables change.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def streams(self) -> tuple[str, ...]: ...
    @property
    def tables(self) -> tuple[Table, ...]: ...

    def project(self, fact: Recorded) -> Iterable[Write]: ...

    async def check(self, generation: Generation) -> list[str]:
        """Invariants over a caught-up generation: sentences about what is wrong, none when all is well."""
        ...


@runtime_checkable
class Selective(Protocol):
    """Of a projection that makes nothing of most facts: a rebuild reads those alone that it names.

    subjects: by stream, of all facts that it makes anything of, each ending in `.>`; of a stream that is left out, all.
    """

    @property
    def subjects(self) -> Mapping[str, Sequence[str]]: ...


@runtime_checkable
class Summing(Protocol):
    """Of a projection whose rows of many facts are read at once: it sums finished blocks of a stream, too.

    A block is `block` positions of the stream `blocks_of`; the n-th begins at n * block. What has been written at its
    positions does not change any more once the stream has passed it, so its sums are as good as the rows they are of,
    the same in every rebuild, and the rows stay.
    """

    @property
    def block(self) -> int: ...
    @property
    def blocks_of(self) -> str: ...
    @property
    def summed(self) -> Table: ...

    def sums(self, block: int, puts: Sequence[Put]) -> Iterable[Write]:
        """Of all puts into the table `summed` that the block's facts have made. A pure function, as `project` is."""
        ...

    def unsummed(self, block: int) -> Iterable[Write]:
        """The block's facts are not all there to be read again: readers have to add up its rows themselves."""
        ...
