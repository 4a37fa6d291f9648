"""One generation's SQLite file, written: a page of writes and its checkpoints are one transaction.

Runs in the store's writer thread, called through SqliteGeneration. A lock file held while it is open keeps a second
process from projecting into the same file; it falls with its process. Never reads rows.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from domain.errors import Conflict
from domain.recorded import Checkpoint
from infra.readstore import ddl
from infra.readstore import sqlite_statements as sql
from infra.readstore.cells import Stored
from infra.readstore.shape import Shape
from infra.readstore.sqlite_file import open_writer, transaction
from projections.port import Put, Table, Write

ROWS_MAX = 256
"""Rows of one statement. While SQLite works on a statement the event loop has Python to itself, and getting it back
costs up to 5 ms: a page row by row took twenty times as long beside a busy loop as in statements of this size."""

_CHECKPOINT = (
    "INSERT INTO checkpoints (stream, position, epoch, digest) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET position = excluded.position, epoch = excluded.epoch, digest = excluded.digest"
)


class SqliteWriter:
    """Conflict if another process has it open."""

    def __init__(self, path: Path, tables: Sequence[Table]) -> None:
        self._lock = lock(path)
        try:
            self._connection = open_writer(path)
        except BaseException:
            self._lock.close()
            raise
        self._shapes = {table.name: Shape(table) for table in tables}
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def create(self) -> None:
        with transaction(self._connection):
            for shape in self._shapes.values():
                self._connection.execute(ddl.sqlite_table(shape))
            self._connection.execute(ddl.SQLITE_CHECKPOINTS)

    def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        pages: dict[_Plan, list[tuple[Stored, ...]]] = {}
        for write in writes:
            plan = self._plan(write)
            pages.setdefault(plan, []).append(plan.bind(write))
        connection = self._connection
        with transaction(connection):
            for plan, rows in pages.items():
                for size, binds in _slices(rows):
                    connection.execute(plan.statement(size), tuple(chain.from_iterable(binds)))
            for one in checkpoints:
                connection.execute(_CHECKPOINT, (one.stream, one.position, one.epoch, one.digest))

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _plan(self, write: Write) -> _Plan:
        name = (write.table.name, *write.values) if isinstance(write, Put) else (write.table.name, "")
        plan = self._plans.get(name)
        if plan is None:
            shape = self._shapes.get(write.table.name)
            if shape is None:
                raise ValueError(f"{write.table.name} is no table of this generation")
            plan = _put_plan(shape, tuple(write.values)) if isinstance(write, Put) else _delete_plan(shape)
            self._plans[name] = plan
        return plan


class _Plan:
    """Writes that share a statement: one table, one set of columns."""

    __slots__ = ("_made", "_statements", "bind")

    def __init__(self, bind: Callable[[Any], tuple[Stored, ...]], made: Callable[[int], str]) -> None:
        self.bind = bind
        self._made = made
        self._statements: dict[int, str] = {}

    def statement(self, rows: int) -> str:
        text = self._statements.get(rows)
        if text is None:
            text = self._statements[rows] = self._made(rows)
        return text


def _put_plan(shape: Shape, columns: tuple[str, ...]) -> _Plan:
    encoders = shape.encoders(columns)

    def bind(put: Put) -> tuple[Stored, ...]:
        cells = [
            None if value is None else encode(value)
            for encode, value in zip(encoders, put.values.values(), strict=True)
        ]
        return (*shape.key(put.key), *cells, put.position)

    return _Plan(bind, lambda rows: sql.put(shape, columns, rows))


def _delete_plan(shape: Shape) -> _Plan:
    return _Plan(lambda write: (*shape.key(write.key), write.position), lambda rows: sql.delete(shape, rows))


def _slices[T](rows: list[T]) -> Iterator[tuple[int, list[T]]]:
    """Powers of two: few statements to run, and few different ones to keep compiled."""
    start = 0
    while start < len(rows):
        size = min(ROWS_MAX, 1 << (len(rows) - start).bit_length() - 1)
        yield size, rows[start : start + size]
        start += size


def lock(path: Path) -> TextIO:
    """Held until the file that is returned is closed, or its process ends. Conflict: somebody else holds it."""
    file = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Conflict(f"another process writes {path.stem}") from None
    return file


def remove(path: Path) -> None:
    """The file and what SQLite keeps beside it. Connections that are still open go on reading what they have."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.with_suffix(".lock").unlink(missing_ok=True)
