# ruff: noqa: S608  only names that shape.check() has passed are written into CQL
"""Cassandra's statements for one generation's tables: every write carries its position as timestamp.

Owns the CQL of rows, checkpoints and generations. Never talks to a node; every value is bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from infra.readstore.shape import RowReader, Shape

SCOPE = "all"
"""The partition of all generations' records: one read brings them, one batch changes several at once."""


class ControlStatements:
    """Those of generations' records and checkpoints. Names carry their keyspace: after USE, nodes warn of each."""

    def __init__(self, keyspace: str) -> None:
        generations, checkpoints = f'"{keyspace}".generations', f'"{keyspace}".checkpoints'
        one = f"WHERE scope = '{SCOPE}' AND projection = ? AND number = ?"
        self.select_records = (
            "SELECT projection, number, live, state, version, created, tables, writetime(live), writetime(state) "
            f"FROM {generations} WHERE scope = '{SCOPE}'"
        )
        self.insert_record = (
            f"INSERT INTO {generations} (scope, projection, number, state, version, created, tables) "
            f"VALUES ('{SCOPE}', ?, ?, ?, ?, ?, '') USING TIMESTAMP ?"
        )
        self.set_tables = f"UPDATE {generations} USING TIMESTAMP ? SET tables = ? {one}"
        self.set_state = f"UPDATE {generations} USING TIMESTAMP ? SET state = ? {one}"
        # Of number 0, which is no generation: its row says which one is live.
        self.set_live = f"UPDATE {generations} USING TIMESTAMP ? SET live = ? {one}"
        self.delete_record = f"DELETE FROM {generations} USING TIMESTAMP ? {one}"
        those = "WHERE projection = ? AND number = ?"
        self.select_checkpoint = (
            f"SELECT stream, position, epoch, digest FROM {checkpoints} {those} AND stream = ?"
        )
        self.select_checkpoint_times = f"SELECT writetime(position) FROM {checkpoints} {those}"
        self.insert_checkpoint = (
            f"INSERT INTO {checkpoints} (projection, number, stream, position, epoch, digest) "
            "VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        )
        self.delete_checkpoints = f"DELETE FROM {checkpoints} USING TIMESTAMP ? {those}"


class Place(msgspec.Struct, frozen=True):
    """Where a generation's tables are."""

    keyspace: str
    number: int

    def table(self, name: str) -> str:
        return f'"{self.keyspace}"."{table_name(name, self.number)}"'


def table_name(table: str, number: int) -> str:
    return f"{table}_g{number}"


def put(shape: Shape, place: Place, columns: Sequence[str]) -> str:
    """Binds key, values of `columns` and position. Columns that are not named stay as they are."""
    names = [*shape.key_names, *columns]
    marks = ", ".join("?" * len(names))
    return (
        f"INSERT INTO {place.table(shape.table.name)} ({_quoted(names)}) VALUES ({marks}) USING TIMESTAMP ?"
    )


def delete(shape: Shape, place: Place) -> str:
    """Binds position and key."""
    return f"DELETE FROM {place.table(shape.table.name)} USING TIMESTAMP ? WHERE {_equal(shape.key_names)}"


def get(reader: RowReader, place: Place) -> str:
    return f"{_select(reader, place)} WHERE {_equal(reader.shape.key_names)}"


def get_in(reader: RowReader, place: Place) -> str:
    """Binds the partition and a list of clustering tuples."""
    shape = reader.shape
    return f"{_select(reader, place)} WHERE {_equal(shape.partition)} AND ({_quoted(shape.clustering)}) IN ?"


def range_(reader: RowReader, place: Place, *, after: int, before: int, backwards: bool) -> str:
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
    return f"{_select(reader, place)} WHERE {' AND '.join(where)}{ordered} LIMIT ?"


def scan(reader: RowReader, place: Place) -> str:
    """Binds the tokens of partitions after which it begins and with which it ends."""
    token = f"token({_quoted(reader.shape.partition)})"
    return f"{_select(reader, place)} WHERE {token} > ? AND {token} <= ?"


def _select(reader: RowReader, place: Place) -> str:
    return f"SELECT {_quoted(reader.names)} FROM {place.table(reader.shape.table.name)}"


def _bound(shape: Shape, values: int, sign: str) -> str:
    return f"({_quoted(shape.clustering[:values])}) {sign} ({', '.join('?' * values)})"


def _equal(names: Sequence[str]) -> str:
    return " AND ".join(f'"{name}" = ?' for name in names)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
