"""Walking a table that is spread over buckets, a page at a time, with a cursor that fits in a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec

from projections.port import ColumnType, Key, ReadModels, Row, Table

ROUND = 16
"""Buckets read in one round trip."""
TYPES: Mapping[ColumnType, type] = {"uuid": UUID, "text": str, "bigint": int}
"""What the clustering keys of such tables are."""


async def walk(
    models: ReadModels, table: Table, partitions: Sequence[Key], *, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """Up to `limit` rows in the order of `partitions`, and the cursor after them (None: there are no more)."""
    index, after = _decode(table, cursor)
    found: list[Row] = []
    while index < len(partitions) and len(found) < limit:
        if after is None:
            rows, index = await _round(models, table, partitions, index, limit - len(found))
            found += rows
            if len(found) >= limit and rows:
                index = partitions.index(_partition(table, rows[-1]))
                return found, _encode(table, index, rows[-1])
            continue
        rows = await models.range(table, partitions[index], after=after, limit=limit - len(found))
        found += rows
        if len(found) >= limit:
            return found, _encode(table, index, rows[-1])
        index, after = index + 1, None
    return found, None


async def _round(
    models: ReadModels, table: Table, partitions: Sequence[Key], index: int, limit: int
) -> tuple[list[Row], int]:
    """Rows of the next few partitions; stops inside them once `limit` rows are there."""
    names = partitions[index : index + ROUND]
    by_partition = await models.range_many(table, names, limit_each=limit)
    rows: list[Row] = []
    for name in names:
        rows += by_partition.get(tuple(name), [])
        if len(rows) >= limit:
            return rows[:limit], index
    return rows, index + len(names)


def _partition(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in table.partition)


def _encode(table: Table, index: int, row: Row) -> str:
    return msgspec.json.encode([index, *(row[name] for name in table.clustering)]).decode()


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
