"""One generation's SQLite file, written: a page of writes and its checkpoints are one transaction.

Runs in the store's writer thread, called through SqliteGeneration. A lock file held while it is open keeps a second
process from projecting into the same file; it falls with its process. Never reads rows.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from domain.errors import Conflict
from domain.recorded import Checkpoint
from infra.readstore import ddl
from infra.readstore.shape import Shape
from infra.readstore.sqlite import statements as sql
from infra.readstore.sqlite.file import open_writer, transaction
from infra.readstore.writes import Deletes, Puts
from projections.port import Table

ROWS_MAX = 256
"""Rows of one statement. While SQLite works on a statement the event loop has Python to itself, and getting it back
costs up to 5 ms: a page row by row took twenty times as long beside a busy loop as in statements of this size."""

_SIZES = (ROWS_MAX, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)

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
        self._tables = tables
        self._statements: dict[tuple[object, ...], str] = {}

    def create(self) -> None:
        with transaction(self._connection):
            for table in self._tables:
                self._connection.execute(ddl.sqlite_table(Shape(table)))
            self._connection.execute(ddl.SQLITE_CHECKPOINTS)

    def store(self, pages: Iterable[Puts | Deletes], checkpoints: Sequence[Checkpoint]) -> None:
        connection = self._connection
        with transaction(connection):
            for page in pages:
                shared = sql.shared(page.shape, page.columns, page.same) if isinstance(page, Puts) else ()
                for rows in _slices(list(zip(*page.own.values(), strict=True))):
                    binds = (*shared, *chain.from_iterable(rows))
                    connection.execute(self._statement(page, len(rows)), binds)
            for one in checkpoints:
                connection.execute(_CHECKPOINT, (one.stream, one.position, one.epoch, one.digest))

    def _statement(self, page: Puts | Deletes, rows: int) -> str:
        columns = page.columns if isinstance(page, Puts) else ("",)
        name = (page.shape.table.name, rows, columns, tuple(page.own))
        text = self._statements.get(name)
        if text is None:
            text = self._statements[name] = _made(page, rows)
        return text

    def close(self) -> None:
        self._connection.close()
        self._lock.close()


def _made(page: Puts | Deletes, rows: int) -> str:
    if isinstance(page, Puts):
        return sql.put(page.shape, page.columns, tuple(page.own), rows)
    return sql.delete(page.shape, rows)


def _slices[T](rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Few statements to run, in few sizes to keep compiled."""
    start = 0
    while (left := len(rows) - start) > 0:
        size = next(size for size in _SIZES if size <= left)
        yield rows[start : start + size]
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
