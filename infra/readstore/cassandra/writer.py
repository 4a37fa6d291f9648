"""Pages of writes to Cassandra: rows in batches that one node takes at once, and only then the checkpoint.

Owns how rows are put together. A batch holds rows of one partition, or, where a page touches many partitions with a row
or two in each, of a few partitions that the same nodes store: still one request, and no node has to ask another one
for more than copies. Never reads rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import msgspec
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from infra.readstore.cassandra import statements as cql
from infra.readstore.cassandra import wire
from infra.readstore.cassandra.reader import bound
from infra.readstore.cassandra.session import CassandraSession
from infra.readstore.writes import POSITION, Deletes, Puts

BATCH_ROWS_MAX = 50
"""Ten times the rows a second of single statements; more adds little and makes a time-out repeat more."""

BATCH_BYTES_MAX = 64 * 1024
"""Of one partition: a batch is one mutation, and a node writes that to its commit log in one piece."""

MIXED_PARTITIONS_MAX = 10
"""Over ten, Cassandra warns of every batch (unlogged_batch_across_partitions_warn_threshold)."""

MIXED_BYTES_MAX = 5 * 1024
"""Over it, across partitions, it warns (batch_size_warn_threshold), and a warning costs more than the batch."""

PARTITION_BYTES, ROW_BYTES, CELL_BYTES = 33, 21, 20
"""What Cassandra 5 counts beside the values: deletions and static row, mark and deletion, a cell's three times."""

MIXED_ROWS_MAX = 8
"""Groups of more rows are worth a request of their own."""


class BoundRow(msgspec.Struct, frozen=True, gc=False):
    """A row in CQL's binary form. partition: (table, routing key). size: as Cassandra counts it."""

    partition: tuple[str, bytes]
    statement: PreparedStatement
    values: Sequence[bytes | None]
    size: int


class CassandraWriter:
    """For one generation's tables."""

    def __init__(self, session: CassandraSession, number: int) -> None:
        self._session = session
        self._place = cql.Place(session.keyspace, number)

    async def make(self, pages: Iterable[Puts | Deletes]) -> list[BoundRow]:
        rows: list[BoundRow] = []
        for page in pages:
            rows += _rows(page, await self._prepare(page))
        return rows

    async def store(self, rows: Iterable[BoundRow]) -> None:
        """Returns when every row is stored. An error leaves some of them stored; the same again completes it."""
        partitions: dict[tuple[str, bytes], list[BoundRow]] = {}
        for row in rows:
            partitions.setdefault(row.partition, []).append(row)
        keyspace = self._session.keyspace
        await self._session.run(_statement(some, keyspace) for some in self._batches(partitions.values()))

    async def _prepare(self, page: Puts | Deletes) -> PreparedStatement:
        if isinstance(page, Puts):
            return await self._session.prepare(cql.put(page.shape, self._place, page.columns))
        return await self._session.prepare(cql.delete(page.shape, self._place))

    def _batches(self, partitions: Iterable[list[BoundRow]]) -> Iterator[list[BoundRow]]:
        """Full batches of single partitions, and what is left over put together by where it is stored."""
        home = self._session.homes()
        few: dict[object, list[list[BoundRow]]] = {}
        for rows in partitions:
            *full, rest = _cut(rows)
            yield from full
            if len(rest) > MIXED_ROWS_MAX:
                yield rest
            else:
                few.setdefault(home(rest[0].partition[1]), []).append(rest)
        for groups in few.values():
            yield from _mix(groups)


def _rows(page: Puts | Deletes, statement: PreparedStatement) -> Iterable[BoundRow]:
    """Hot path: column by column into binary form, and then into rows without a step of Python for each of them."""
    shape = page.shape
    names = [*shape.key_names, *(page.columns if isinstance(page, Puts) else ())]
    columns = [wire.column(shape.types[name], page.cells(name)) for name in names]
    timestamps = wire.column("bigint", page.cells(POSITION))
    # As the statements bind them: a put its timestamp last, a delete first.
    binds = [*columns, timestamps] if isinstance(page, Puts) else [timestamps, *columns]
    width = len(shape.partition)
    keys = wire.routing_keys(columns[:width])
    own = ROW_BYTES + CELL_BYTES * (len(names) - len(shape.key_names))
    sizes = map(sum, zip(repeat(own), *map(_lengths, columns[width:]), strict=False))
    partitions = zip(repeat(shape.table.name), keys, strict=False)
    return map(BoundRow, partitions, repeat(statement), zip(*binds, strict=True), sizes)


def _cut(rows: Sequence[BoundRow]) -> Iterator[list[BoundRow]]:
    """Rows of one partition in batches of the allowed size; never none."""
    batch, size = list[BoundRow](), 0
    for row in rows:
        if batch and (len(batch) == BATCH_ROWS_MAX or size + row.size > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.size
    yield batch


def _mix(groups: Sequence[list[BoundRow]]) -> Iterator[list[BoundRow]]:
    """Small groups, each of a partition of its own, together."""
    batch, size, partitions = list[BoundRow](), 0, 0
    for rows in groups:
        more = PARTITION_BYTES + sum(row.size for row in rows)
        if batch and (partitions == MIXED_PARTITIONS_MAX or size + more > MIXED_BYTES_MAX):
            yield batch
            batch, size, partitions = [], 0, 0
        batch += rows
        size, partitions = size + more, partitions + 1
    if batch:
        yield batch


def _lengths(cells: Sequence[bytes | None]) -> Iterable[int]:
    return map(len, [cell or b"" for cell in cells])


def _statement(rows: Sequence[BoundRow], keyspace: str) -> BoundStatement | BatchStatement:
    first = rows[0]
    if len(rows) == 1:
        return bound(first.statement, first.values)
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    batch.keyspace, batch.routing_key = keyspace, first.partition[1]
    for row in rows:
        # What `add` comes to, without a bound statement made and thrown away for each row: a tenth of the whole work.
        batch._add_statement_and_params(True, row.statement.query_id, row.values)  # noqa: SLF001
    return batch
