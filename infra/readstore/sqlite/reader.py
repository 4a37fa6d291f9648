"""Reads of one generation from its SQLite file.

Short reads run at once on the event loop: they take microseconds, a hop to a thread many times that. Long ones go
through the store's reader threads. Each connection is used by one thread at a time. Never writes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from pathlib import Path
from threading import Lock
from typing import Any

from domain.recorded import Checkpoint
from infra.readstore.shape import RowReader, RowReaders, Shape, check_count, check_limit, digest_of
from infra.readstore.sqlite import statements as sql
from infra.readstore.sqlite.file import open_reader, translated
from projections.port import Key, Row, Table

DIRECT_ROWS_MAX = 100
"""A read of a hundred rows takes about as long as the hop to a thread and back (bench/read_store.py)."""

TOGETHER = 50
"""Partitions that one statement reads. Hot path: a statement costs more than the few rows of a partition, so that many
small partitions, such as an audience's addresses, are read in half the time.
"""

TOGETHER_MIN = 4
"""Fewer partitions are read one by one: their places in the statement would be padded."""

TOGETHER_ROWS_MAX = 8 * TOGETHER
"""Where they turn out to have more rows than this, they are large, and read one by one."""

SCAN_ROWS = 1000
"""Rows of a page of a scan: some milliseconds of a reader thread."""

Statement = tuple[str, Sequence[Any]]
Rows = list[tuple[Any, ...]]
Question = Callable[[sqlite3.Connection], list[Rows]]


class SqliteReader:
    """ReadModels over one file. The file is opened by the first read."""

    def __init__(self, path: Path, tables: Sequence[Table], threads: ThreadPoolExecutor) -> None:
        self.source = path, tables, threads
        self._path = path
        self._threads = threads
        self._readers = RowReaders(tables)
        self._direct: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._lock = Lock()

    async def aclose(self) -> None:
        """Idle connections now; one that is in use when its read is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in [*idle, *([self._direct] if self._direct else [])]:
            connection.close()
        self._direct = None

    # Reads

    async def get(self, table: Table, key: Key) -> Row | None:
        await self._settled()
        reader = self._readers.of(table)
        select, binds = _get(reader), reader.shape.key(key)
        rows = self._at_once(lambda connection: _run(connection, [(select, binds)]))[0]
        return reader.rows(rows)[0] if rows else None

    async def get_many(self, table: Table, keys: Sequence[Key]) -> list[Row | None]:
        check_count(keys)
        reader = self._readers.of(table)
        select = _get(reader)
        found = await self._query([(select, reader.shape.key(key)) for key in keys], rows_max=len(keys))
        there = iter(reader.rows([rows[0] for rows in found if rows]))
        return [next(there) if rows else None for rows in found]

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
        reader = self._readers.of(table)
        shape = reader.shape
        bounds = [shape.clustering_prefix(bound) if bound is not None else () for bound in (after, before)]
        select = _range(reader, after=len(bounds[0]), before=len(bounds[1]), backwards=backwards)
        binds = (*shape.partition_key(partition), *bounds[0], *bounds[1], limit)
        rows = (await self._query([(select, binds)], rows_max=limit))[0]
        return reader.rows(rows)

    async def range_many(
        self, table: Table, partitions: Sequence[Key], *, limit_each: int = 500
    ) -> dict[Key, list[Row]]:
        check_limit(limit_each)
        check_count(partitions)
        reader = self._readers.of(table)
        keys = reader.shape.partition_keys(partitions)
        if len(set(keys)) < len(keys):
            return await self.range_many(table, list(dict.fromkeys(partitions)), limit_each=limit_each)
        # Hot path: what the keys of all share, such as the realm, need not be read with each row.
        head = keys[0][:-1] if keys and all(key[:-1] == keys[0][:-1] for key in keys) else ()
        rows_max = len(keys) * limit_each
        if rows_max > DIRECT_ROWS_MAX and TOGETHER_MIN <= len(keys) <= TOGETHER:
            # Hot path: the addresses of a small audience are a few rows, whatever they might be.
            await self._settled()
            few = self._at_once(
                lambda connection: _together(connection, reader, head, keys, limit_each, DIRECT_ROWS_MAX)
            )
            if few is not None:
                return dict(zip(partitions, reader.groups(few, head), strict=True))
        found = await self._ask(
            lambda connection: _ranges(connection, reader, head, keys, limit_each), rows_max=rows_max
        )
        return dict(zip(partitions, reader.groups(found, head), strict=True))

    async def checkpoint(self, projection: str, stream: str) -> Checkpoint | None:
        await self._settled()
        select = "SELECT stream, position, epoch, digest FROM checkpoints WHERE stream = ?"
        rows = self._at_once(lambda connection: _run(connection, [(select, (stream,))]))[0]
        return Checkpoint(*rows[0]) if rows else None

    async def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        """Every row once, in pages, in no promised order; rows written meanwhile may be there or not."""
        reader = self._readers.of(table)
        lie_as_they_came = (await self._query([(sql.LIE_AS_THEY_CAME, (table.name,))], rows_max=1))[0]
        pages = self._as_they_lie(reader) if lie_as_they_came else self._by_key(reader)
        async for rows in pages:
            if rows:
                yield reader.rows(rows)

    async def _as_they_lie(self, reader: RowReader) -> AsyncIterator[Rows]:
        select, after = sql.as_they_lie(reader), -1
        while True:
            rows = (await self._query([(select, (after, SCAN_ROWS))], rows_max=SCAN_ROWS))[0]
            yield [row[1:] for row in rows]
            if len(rows) < SCAN_ROWS:
                return
            after = rows[-1][0]

    async def _by_key(self, reader: RowReader) -> AsyncIterator[Rows]:
        after: tuple[Any, ...] = ()
        while True:
            select = sql.scan(reader, first=not after)
            rows = (await self._query([(select, (*after, SCAN_ROWS))], rows_max=SCAN_ROWS))[0]
            yield rows
            if len(rows) < SCAN_ROWS:
                return
            after = rows[-1][: len(reader.shape.key_names)]

    async def digest(self, table: Table) -> tuple[int, str]:
        return await digest_of(self.scan(table), Shape(table))

    # The two ways to ask

    async def _settled(self) -> None:
        """Before each read: what is written through the same object is there."""

    async def _query(self, statements: Sequence[Statement], *, rows_max: int) -> list[Rows]:
        return await self._ask(lambda connection: _run(connection, statements), rows_max=rows_max)

    async def _ask(self, question: Question, *, rows_max: int) -> list[Rows]:
        await self._settled()
        if rows_max <= DIRECT_ROWS_MAX:
            return self._at_once(question)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._in_thread, question)

    def _at_once[T](self, question: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            if self._direct is None:
                self._direct = open_reader(self._path)
            return question(self._direct)

    def _in_thread(self, question: Question) -> list[Rows]:
        with translated():
            connection = self._borrow()
            try:
                return question(connection)
            finally:
                self._give_back(connection)

    def _borrow(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return open_reader(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _get(reader: RowReader) -> str:
    return reader.statement("get", lambda: sql.get(reader))


def _range(reader: RowReader, *, after: int, before: int, backwards: bool) -> str:
    return reader.statement(
        (after, before, backwards),
        lambda: sql.range_(reader, after=after, before=before, backwards=backwards),
    )


def _ranges(
    connection: sqlite3.Connection, reader: RowReader, head: Key, keys: Sequence[Key], limit_each: int
) -> list[Rows]:
    """The first rows of each partition, in order, without the columns of `head`, which all keys share; keys in stored
    form.
    """
    found: list[Rows] = []
    one = reader.statement(("one", len(head)), lambda: sql.range_(reader, without=len(head)))
    for some in batched(keys, TOGETHER):
        groups = _together(connection, reader, head, some, limit_each) if len(some) >= TOGETHER_MIN else None
        found += groups or _run(connection, [(one, (*key, limit_each)) for key in some])
    return found


def _together(
    connection: sqlite3.Connection,
    reader: RowReader,
    head: Key,
    keys: Sequence[Key],
    limit_each: int,
    rows_max: int = TOGETHER_ROWS_MAX,
) -> list[Rows] | None:
    """As `_ranges` by one statement; None where that does not serve: their names differ in more than the last part, or
    they have `rows_max` rows or more.
    """
    if len(head) < len(keys[0]) - 1:
        return None
    select = reader.statement("together", lambda: sql.ranges(reader, TOGETHER))
    lasts = [key[-1] for key in keys]
    padding = [lasts[-1]] * (TOGETHER - len(lasts))
    rows = connection.execute(select, (*head, *lasts, *padding, rows_max)).fetchall()
    if len(rows) == rows_max:
        return None
    groups: dict[Any, Rows] = {last: [] for last in lasts}
    for row in rows:
        groups[row[0]].append(row)
    return [group if len(group) <= limit_each else group[:limit_each] for group in groups.values()]


def _run(connection: sqlite3.Connection, statements: Sequence[Statement]) -> list[Rows]:
    return [connection.execute(select, binds).fetchall() for select, binds in statements]
