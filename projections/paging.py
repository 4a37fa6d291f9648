"""Walking a table that is spread over buckets, a page at a time, with a cursor that fits in a record."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec

from projections.port import ColumnType, Key, ReadModels, Row, Table

LOOK, LOOKED_MAX = 100, 5_000
"""Rows read at a time, and for one page, where few of them are kept: ten round trips or so."""
ROUND = 16
"""Buckets read in one round trip."""
TYPES: Mapping[ColumnType, type] = {"uuid": UUID, "text": str, "bigint": int}
"""What the clustering keys of such tables are."""


async def walk(
    models: ReadModels, table: Table, partitions: Sequence[Key], *, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """Up to `limit` rows in the order of `partitions`, and the cursor after them (None: there are no more)."""
    found: list[Row] = []
    async with contextlib.aclosing(stream(models, table, partitions, cursor=cursor, chunk=limit)) as rows:
        async for row in rows:
            found.append(row)
            if len(found) == limit:
                return found, cursor_after(table, partitions, row)
    return found, None


async def walk_kept(
    models: ReadModels,
    table: Table,
    partitions: Sequence[Key],
    *,
    keep: Callable[[Row], bool],
    cursor: str | None,
    limit: int,
) -> tuple[list[Row], str | None]:
    """As `walk`, of the rows to keep alone: a page is full, and followed by another, as long as there are any.

    Only after LOOKED_MAX rows it ends before that.
    """
    kept: list[Row] = []
    looked = 0
    rows = stream(models, table, partitions, cursor=cursor, chunk=max(limit, LOOK))
    async with contextlib.aclosing(rows):
        async for row in rows:
            looked += 1
            if keep(row):
                if len(kept) == limit:
                    return kept, cursor_after(table, partitions, kept[-1])
                kept.append(row)
            if looked == LOOKED_MAX:
                return kept, cursor_after(table, partitions, row)
    return kept, None


async def stream(
    models: ReadModels, table: Table, partitions: Sequence[Key], *, cursor: str | None, chunk: int
) -> AsyncGenerator[Row]:
    """All rows after the cursor, in order. chunk: rows of a partition that are read at a time.

    The first chunks of several partitions come in one round trip, since most of them are small.
    """
    start, after = _decode(table, cursor)
    if after is not None:
        async for rows in pages(models, table, partitions[start], after=after, chunk=chunk):
            for row in rows:
                yield row
        start += 1
    for first in range(start, len(partitions), ROUND):
        names = partitions[first : first + ROUND]
        chunks = await models.range_many(table, names, limit_each=chunk)
        for name in names:
            there = chunks.get(tuple(name), [])
            async for rows in pages_with(models, table, name, there, limit=chunk, chunk=chunk):
                for row in rows:
                    yield row


async def pages(
    models: ReadModels,
    table: Table,
    partition: Key,
    *,
    after: Key | None = None,
    before: Key | None = None,
    backwards: bool = False,
    chunk: int,
) -> AsyncGenerator[list[Row]]:
    """All rows of one partition between two clustering keys, as ReadModels.range has them, so many at a time.

    Only the last page is not full; it may be empty.
    """
    while True:
        rows = await models.range(
            table, partition, after=after, before=before, limit=chunk, backwards=backwards
        )
        yield rows
        if len(rows) < chunk:
            return
        after = _clustering(table, rows[-1])


async def pages_with(
    models: ReadModels, table: Table, partition: Key, first: list[Row], *, limit: int, chunk: int
) -> AsyncGenerator[list[Row]]:
    """As `pages`, where the first page has been read, with a limit of its own."""
    yield first
    if len(first) == limit:
        async for rows in pages(models, table, partition, after=_clustering(table, first[-1]), chunk=chunk):
            yield rows


def cursor_after(table: Table, partitions: Sequence[Key], row: Row) -> str:
    """Where to go on after a row of `partitions`."""
    index = partitions.index(_partition(table, row))
    return msgspec.json.encode([index, *_clustering(table, row)]).decode()


def _clustering(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in table.clustering)


def _partition(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in table.partition)


def _decode(table: Table, cursor: str | None) -> tuple[int, Key | None]:
    """Raises ValueError for a cursor that this function did not make."""
    if cursor is None:
        return 0, None
    values = msgspec.json.decode(cursor, type=list[Any])
    kinds = [TYPES[kind] for kind in table.clustering.values()]
    if len(values) != len(kinds) + 1:
        raise ValueError("not a cursor of this table")
    index = msgspec.convert(values[0], Annotated[int, msgspec.Meta(ge=0)])
    return index, tuple(map(msgspec.convert, values[1:], kinds))
