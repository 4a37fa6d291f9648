"""Reads of one generation from its Cassandra tables. Never writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from cassandra.query import BoundStatement, PreparedStatement

from domain.recorded import Checkpoint
from infra.readstore.cassandra import statements as cql
from infra.readstore.cassandra import wire
from infra.readstore.cassandra.session import CassandraSession
from infra.readstore.cells import Stored
from infra.readstore.shape import RowReader, RowReaders, Shape, check_count, check_limit, digest_of
from projections.port import Key, Row, Table

KEYS_IN_MAX = 100
"""Keys of one partition in one request: the node reads them one after the other."""

SCAN_ROWS = 500
"""Rows of a page of a scan, of which one for each of these is under way."""

SCAN_RANGES = 4
"""Parts of the ring that are read at once: a node reads a part in one thread, and makes a page while we look at one."""


class CassandraReader:
    """ReadModels over one generation's tables."""

    def __init__(self, session: CassandraSession, number: int, tables: Sequence[Table]) -> None:
        self._session = session
        self.number = number
        self._place = cql.Place(session.keyspace, number)
        self._readers = RowReaders(tables)

    async def aclose(self) -> None:
        """The session is the store's."""

    async def _settled(self) -> None:
        """Before each read: what is written through the same object is there."""

    async def get(self, table: Table, key: Key) -> Row | None:
        return (await self.get_many(table, [key]))[0]

    async def get_many(self, table: Table, keys: Sequence[Key]) -> list[Row | None]:
        """One request per partition (and hundred keys), all under way at once."""
        check_count(keys)
        await self._settled()
        reader = self._readers.of(table)
        shape = reader.shape
        stored = [shape.key(key) for key in keys]
        statements = await self._gets(reader, list(dict.fromkeys(stored)))
        found: dict[tuple[Stored, ...], Row] = {}
        for rows in await self._session.rows_of_each(statements):
            for row in reader.rows(rows):
                found[shape.key(tuple([row[name] for name in shape.key_names]))] = row
        # A key that was asked for twice gets two rows, not one row twice.
        return [dict(found[key]) if key in found else None for key in stored]

    async def _gets(self, reader: RowReader, keys: Sequence[tuple[Stored, ...]]) -> list[BoundStatement]:
        shape, width = reader.shape, len(reader.shape.partition)
        by_partition: dict[tuple[Stored, ...], list[tuple[Stored, ...]]] = {}
        for key in keys:
            by_partition.setdefault(key[:width], []).append(key)
        one = await self._session.prepare(reader.statement("get", lambda: cql.get(reader, self._place)))
        if all(len(group) == 1 for group in by_partition.values()):
            return [bound(one, _key(shape, key)) for key in keys]
        several = await self._session.prepare(
            reader.statement("get_in", lambda: cql.get_in(reader, self._place))
        )
        return [
            bound(several, [*_key(shape, partition), wire.tuples([_key(shape, key)[width:] for key in some])])
            for partition, group in by_partition.items()
            for some in (group[at : at + KEYS_IN_MAX] for at in range(0, len(group), KEYS_IN_MAX))
        ]

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
        check_limit(limit)
        await self._settled()
        reader = self._readers.of(table)
        shape = reader.shape
        bounds = [shape.clustering_prefix(bound) if bound is not None else () for bound in (after, before)]
        select = await self._range(reader, after=len(bounds[0]), before=len(bounds[1]), backwards=backwards)
        binds = _key(shape, shape.partition_key(partition))
        for stored in bounds:
            binds += _clustering(shape, stored)
        rows = await self._session.rows(bound(select, [*binds, wire.int_(limit)], fetch=limit))
        return reader.rows(rows)

    async def range_many(
        self, table: Table, partitions: Sequence[Key], *, limit_each: int = 500
    ) -> dict[Key, list[Row]]:
        check_limit(limit_each)
        check_count(partitions)
        await self._settled()
        reader = self._readers.of(table)
        shape = reader.shape
        select = await self._range(reader, after=0, before=0, backwards=False)
        wanted = list(dict.fromkeys(partitions))
        statements = [
            bound(select, [*_key(shape, stored), wire.int_(limit_each)], fetch=limit_each)
            for stored in shape.partition_keys(wanted)
        ]
        found = await self._session.rows_of_each(statements)
        return dict(zip(wanted, reader.groups(found), strict=True))

    async def checkpoint(self, projection: str, stream: str) -> Checkpoint | None:
        await self._settled()
        select = await self._session.prepare(self._session.control.select_checkpoint)
        binds = [projection.encode(), wire.long_(self.number), stream.encode()]
        rows = await self._session.rows(bound(select, binds))
        return Checkpoint(*rows[0]) if rows else None

    async def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        """Every row once, in pages, in no promised order; rows written meanwhile may be there or not."""
        await self._settled()
        reader = self._readers.of(table)
        select = await self._session.prepare(cql.scan(reader, self._place))
        parts = [bound(select, list(map(wire.long_, part)), fetch=SCAN_ROWS) for part in _ring(SCAN_RANGES)]
        async for page in self._session.pages(parts):
            yield reader.rows(page)

    async def digest(self, table: Table) -> tuple[int, str]:
        return await digest_of(self.scan(table), Shape(table))

    async def _range(
        self, reader: RowReader, *, after: int, before: int, backwards: bool
    ) -> PreparedStatement:
        text = reader.statement(
            (after, before, backwards),
            lambda: cql.range_(reader, self._place, after=after, before=before, backwards=backwards),
        )
        return await self._session.prepare(text)


def bound(
    statement: PreparedStatement, values: Sequence[bytes | None], *, fetch: int = 5000
) -> BoundStatement:
    """values: in binary form, in the order of the marks. fetch: rows of a page."""
    made = BoundStatement(statement, fetch_size=fetch)
    made.values = values
    made.raw_values = ()  # what the driver shows of a statement in its messages: nothing
    return made


def _ring(parts: int) -> list[tuple[int, int]]:
    """(after, up to) of the partitioner's tokens: 64 bits, and no key has the lowest."""
    bounds = [-(2**63) + (2**64 - 1) * part // parts for part in range(parts + 1)]
    return list(pairwise(bounds))


def _key(shape: Shape, stored: Sequence[Stored]) -> list[bytes]:
    """A key, or the beginning of one."""
    return wire.values([shape.types[name] for name in shape.key_names[: len(stored)]], stored)


def _clustering(shape: Shape, stored: Sequence[Stored]) -> list[bytes]:
    return wire.values([shape.types[name] for name in shape.clustering[: len(stored)]], stored)
