# ruff: noqa: S608  only names that shape.check() has passed are written into CQL
"""Cassandra's statements for one generation's tables: every write carries its position as timestamp.

Owns the CQL of rows, checkpoints and generations. Never talks to a node; every value is bound.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.readstore.shape import RowReader, Shape

SCOPE = "all"
"""The partition of all generations' records: one read brings them, one batch changes several at once."""

SELECT_RECORDS = (
    "SELECT projection, number, live, state, version, created, tables, writetime(live), writetime(state) "
    f"FROM generations WHERE scope = '{SCOPE}'"
)
INSERT_RECORD = (
    "INSERT INTO generations (scope, projection, number, state, version, created, tables) "
    f"VALUES ('{SCOPE}', ?, ?, ?, ?, ?, '') USING TIMESTAMP ?"
)
_ONE = f"WHERE scope = '{SCOPE}' AND projection = ? AND number = ?"
SET_TABLES = f"UPDATE generations USING TIMESTAMP ? SET tables = ? {_ONE}"
SET_STATE = f"UPDATE generations USING TIMESTAMP ? SET state = ? {_ONE}"
SET_LIVE = f"UPDATE generations USING TIMESTAMP ? SET live = ? {_ONE}"
"""Of number 0, which is no generation: its row says which one is live."""
DELETE_RECORD = f"DELETE FROM generations USING TIMESTAMP ? {_ONE}"

_THOSE = "WHERE projection = ? AND number = ?"
SELECT_CHECKPOINT = f"SELECT stream, position, epoch, digest FROM checkpoints {_THOSE} AND stream = ?"
SELECT_CHECKPOINT_TIMES = f"SELECT writetime(position) FROM checkpoints {_THOSE}"
INSERT_CHECKPOINT = (
    "INSERT INTO checkpoints (projection, number, stream, position, epoch, digest) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?"
)
DELETE_CHECKPOINTS = f"DELETE FROM checkpoints USING TIMESTAMP ? {_THOSE}"


def table_name(table: str, number: int) -> str:
    return f"{table}_g{number}"


def put(shape: Shape, number: int, columns: Sequence[str]) -> str:
    """Binds key, values of `columns` and position. Columns that are not named stay as they are."""
    names = [*shape.key_names, *columns]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {_name(shape, number)} ({_quoted(names)}) VALUES ({marks}) USING TIMESTAMP ?"


def delete(shape: Shape, number: int) -> str:
    """Binds position and key."""
    return f"DELETE FROM {_name(shape, number)} USING TIMESTAMP ? WHERE {_equal(shape.key_names)}"


def get(reader: RowReader, number: int) -> str:
    return f"{_select(reader, number)} WHERE {_equal(reader.shape.key_names)}"


def get_in(reader: RowReader, number: int) -> str:
    """Binds the partition and a list of clustering tuples."""
    shape = reader.shape
    return f"{_select(reader, number)} WHERE {_equal(shape.partition)} AND ({_quoted(shape.clustering)}) IN ?"


def range_(reader: RowReader, number: int, *, after: int, before: int, backwards: bool) -> str:
    """Binds the partition, then `after` and `before` clustering values (0: no such bound), then the limit."""
    shape = reader.shape
    descending = shape.table.newest_first != backwards
    where = [_equal(shape.partition)]
    if after:
        where.append(_bound(shape, after, "<" if descending else ">"))
    if before:
        where.append(_bound(shape, before, ">" if descending else "<"))
    order = ", ".join(f'"{name}" {"DESC" if descending else "ASC"}' for name in shape.clustering)
    ordered = f" ORDER BY {order}" if order else ""
    return f"{_select(reader, number)} WHERE {' AND '.join(where)}{ordered} LIMIT ?"


def scan(reader: RowReader, number: int) -> str:
    return _select(reader, number)


def _select(reader: RowReader, number: int) -> str:
    return f"SELECT {_quoted(reader.names)} FROM {_name(reader.shape, number)}"


def _bound(shape: Shape, values: int, sign: str) -> str:
    return f"({_quoted(shape.clustering[:values])}) {sign} ({', '.join('?' * values)})"


def _equal(names: Sequence[str]) -> str:
    return " AND ".join(f'"{name}" = ?' for name in names)


def _name(shape: Shape, number: int) -> str:
    return f'"{table_name(shape.table.name, number)}"'


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
