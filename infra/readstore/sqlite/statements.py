# ruff: noqa: S608  only names that shape.check() has passed are written into SQL
"""SQLite's statements for one table: last write wins cell by cell, by position, in one upsert.

Owns the SQL of rows. Never opens a connection; every value is bound, and only checked names are written into SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat

from infra.readstore.cells import Stored
from infra.readstore.shape import RowReader, Shape
from infra.readstore.writes import POSITION

VISIBLE = "row__at > row__gone"


def put(shape: Shape, columns: Sequence[str], own: Sequence[str], rows: int) -> str:
    """An upsert of `rows` rows: binds the cells that all of them share (see `shared`), then those of `own` for each."""
    places = {name: f"column{number}" for number, name in enumerate(own, 1)}
    given = [places.get(name, "?") for name in _given(shape, columns)]
    names = [*shape.key_names, *columns, *(f"{name}__at" for name in columns), POSITION]
    changes = [change for name in columns for change in _newer(name)]
    changes.append("row__at = max(row__at, excluded.row__at)")
    return (
        f"INSERT INTO {_name(shape)} ({_quoted(names)}) SELECT {', '.join(given)} "
        f"FROM ({_values(len(own), rows)}) WHERE true ON CONFLICT DO UPDATE SET {', '.join(changes)}"
    )


def shared(shape: Shape, columns: Sequence[str], same: Mapping[str, Stored]) -> list[Stored]:
    """What `put` binds once for all rows: their position as often as it is written."""
    return [same[name] for name in _given(shape, columns) if name in same]


def _given(shape: Shape, columns: Sequence[str]) -> Iterator[str]:
    """What each cell of a row comes from: its position is beside each value, and that of the row."""
    return chain(shape.key_names, columns, repeat(POSITION, len(columns) + 1))


def _newer(name: str) -> tuple[str, str]:
    # The row's delete counts for each cell: a put at or below it stays hidden for ever.
    newer = f'excluded.row__at > max("{name}__at", row__gone)'
    return (
        f'"{name}" = iif({newer}, excluded."{name}", "{name}")',
        f'"{name}__at" = max("{name}__at", excluded.row__at)',
    )


def delete(shape: Shape, rows: int) -> str:
    """Binds key and position of each of `rows` rows. A row never seen gets its tombstone too."""
    width = len(shape.key_names) + 1
    names = [*shape.key_names, "row__gone"]
    changes = [f'"{name}" = iif("{name}__at" > excluded.row__gone, "{name}", NULL)' for name in shape.columns]
    changes.append("row__gone = max(row__gone, excluded.row__gone)")
    return (
        f"INSERT INTO {_name(shape)} ({_quoted(names)}) SELECT * FROM ({_values(width, rows)}) "
        f"WHERE true ON CONFLICT DO UPDATE SET {', '.join(changes)}"
    )


def get(reader: RowReader) -> str:
    return f"{_select(reader)} WHERE {_equal(reader.shape.key_names)} AND {VISIBLE}"


def range_(
    reader: RowReader, *, after: int = 0, before: int = 0, backwards: bool = False, without: int = 0
) -> str:
    """Binds the partition, then `after` and `before` clustering values (0: no such bound), then the limit.

    without: of so many columns of the partition the values are not read.
    """
    shape = reader.shape
    descending = shape.table.newest_first != backwards
    where = [_equal(shape.partition), VISIBLE]
    if after:
        where.append(_bound(shape, after, "<" if descending else ">"))
    if before:
        where.append(_bound(shape, before, ">" if descending else "<"))
    order = _order(shape, descending=descending)
    ordered = f" ORDER BY {order}" if order else ""
    return f"{_select(reader, without)} WHERE {' AND '.join(where)}{ordered} LIMIT ?"


def ranges(reader: RowReader, partitions: int) -> str:
    """Several partitions whose keys differ in the last column alone: binds what they share, the last column of each,
    and the limit of all together. Each partition's rows come in its order, without what they share.
    """
    shape = reader.shape
    *shared, last = shape.partition
    where = [_equal([name]) for name in shared]
    where += [f'"{last}" IN ({_marks(partitions)})', VISIBLE]
    order = ", ".join(filter(None, [f'"{last}"', _order(shape, descending=shape.table.newest_first)]))
    return f"{_select(reader, len(shared))} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?"


def scan(reader: RowReader, *, first: bool) -> str:
    """Binds the key to go on after (unless it is the first page), and the limit."""
    keys = reader.shape.key_names
    after = "" if first else f" AND ({_quoted(keys)}) > ({_marks(len(keys))})"
    return f"{_select(reader)} WHERE {VISIBLE}{after} ORDER BY {_quoted(keys)} LIMIT ?"


def _order(shape: Shape, *, descending: bool) -> str:
    return ", ".join(f'"{name}" {"DESC" if descending else "ASC"}' for name in shape.clustering)


def as_they_lie(reader: RowReader) -> str:
    """Binds the number of the row to go on after, and the limit; the row's number comes first."""
    return (
        f"SELECT rowid, {_quoted(reader.names)} FROM {_name(reader.shape)} WHERE {VISIBLE} AND rowid > ? "
        "ORDER BY rowid LIMIT ?"
    )


LIE_AS_THEY_CAME = "SELECT 1 FROM sqlite_master WHERE name = ? AND sql NOT LIKE '%WITHOUT ROWID'"
"""Binds a table's name. Tables of generations that an older version has made lie in the order of their keys."""


def _select(reader: RowReader, without: int = 0) -> str:
    return f"SELECT {_quoted(reader.names[without:])} FROM {_name(reader.shape)}"


def _bound(shape: Shape, values: int, sign: str) -> str:
    return f"({_quoted(shape.clustering[:values])}) {sign} ({_marks(values)})"


def _equal(names: Sequence[str]) -> str:
    return " AND ".join(f'"{name}" = ?' for name in names)


def _values(width: int, rows: int) -> str:
    return "VALUES " + ", ".join([f"({_marks(width)})"] * rows)


def _marks(number: int) -> str:
    return ", ".join("?" * number)


def _name(shape: Shape) -> str:
    return f'"{shape.table.name}"'


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
