"""The embedded read store: a folder of SQLite files, one per generation of a projection, and `control.db`.

One thread owns every connection that writes; a generation is written by one process, and any number of processes
read. After SIGKILL at any moment a file holds whole transactions: rows and the checkpoint that goes with them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from domain.recorded import Checkpoint
from infra.readstore import ddl
from infra.readstore.cells import DECODERS, ENCODERS
from infra.readstore.gathering import Pages, PageWriter
from infra.readstore.sqlite.file import open_reader, open_writer, transaction, translated
from infra.readstore.sqlite.reader import SqliteReader
from infra.readstore.sqlite.writer import SqliteWriter, lock, remove
from infra.readstore.store import ReadStore, Record, State
from infra.readstore.writes import merged
from projections.port import Write

READER_THREADS = 2
"""Long reads at a time. Python runs one thread's rows at a time anyway; two keep one slow read from blocking all."""

_MARK = "UPDATE generations SET state = ? WHERE projection = ? AND number = ?"

_Write = Callable[[Callable[[], None]], Awaitable[None]]

_RECORDS = (
    "SELECT projection, number, iif(number = live, 'live', state), version, created, tables "
    "FROM generations LEFT JOIN projections USING (projection)"
)


class SqliteReadStore(ReadStore):
    """folder: made if missing (`<data>/read`)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._control: sqlite3.Connection | None = None
        self._watch: sqlite3.Connection | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="readstore-writer")
        self._reading = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="readstore-reader")

    async def open(self) -> None:
        await self._write(self._open_control)

    def _open_control(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "control.db"
        self._control = open_writer(path)
        with transaction(self._control):
            for statement in ddl.SQLITE_CONTROL:
                self._control.execute(statement)
        self._watch = open_reader(path)

    async def _close(self) -> None:
        for connection in (self._control, self._watch):
            if connection is not None:
                connection.close()
        self._control = self._watch = None
        self._writing.shutdown()
        self._reading.shutdown()

    async def ready(self) -> None:
        await self._load()

    async def _write[T](self, work: Callable[[], T]) -> T:
        """Everything that writes goes through the one writer thread."""
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._writing, work)

    # Generations

    async def _load(self) -> list[Record]:
        assert self._watch is not None, "the store is not open"
        with translated():
            rows = self._watch.execute(_RECORDS).fetchall()
        return [_record(*row) for row in rows]

    async def _create(self, projection: str, number: int, version: int) -> None:
        created = ENCODERS["timestamp"](datetime.now(UTC))
        insert = "INSERT INTO generations VALUES (?, ?, ?, ?, ?, '')"
        await self._execute((insert, (projection, number, State.BUILDING, version, created)))

    async def _set_tables(self, record: Record, tables: str) -> None:
        update = "UPDATE generations SET tables = ? WHERE projection = ? AND number = ?"
        await self._execute((update, (tables, record.projection, record.number)))

    async def _mark(self, projection: str, states: Mapping[int, State]) -> None:
        await self._execute(*((_MARK, (state, projection, number)) for number, state in states.items()))

    async def _set_live(self, projection: str, number: int) -> None:
        # "retired" is what it will be when another one is live.
        await self._execute(
            (_MARK, (State.RETIRED, projection, number)),
            ("INSERT OR REPLACE INTO projections VALUES (?, ?)", (projection, number)),
        )

    async def _drop(self, record: Record) -> None:
        path, which = self._path(record), (record.projection, record.number)
        if record.state in (State.BUILDING, State.OFFERED):
            await self._write(lambda: lock(path).close())
        await self._execute((_MARK, (State.DROPPING, *which)))
        await self._write(lambda: remove(path))
        await self._execute(("DELETE FROM generations WHERE projection = ? AND number = ?", which))

    async def _writer(self, record: Record) -> SqliteGeneration:
        def open_() -> SqliteWriter:
            writer = SqliteWriter(self._path(record), record.declared())
            try:
                writer.create()
            except BaseException:
                writer.close()
                raise
            return writer

        writer = await self._write(open_)
        return SqliteGeneration(self._reader(record), record, writer, self._write)

    def _reader(self, record: Record) -> SqliteReader:
        return SqliteReader(self._path(record), record.declared(), self._reading)

    async def _execute(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        def work() -> None:
            assert self._control is not None, "the store is not open"
            with transaction(self._control):
                for statement, binds in statements:
                    self._control.execute(statement, binds)

        await self._write(work)

    def _path(self, record: Record) -> Path:
        return self._folder / f"{record.projection}-{record.number}.db"


class SqliteGeneration(SqliteReader):
    """projections.port.Generation on one file: its reads are its own rows, live or not."""

    def __init__(self, reader: SqliteReader, record: Record, writer: SqliteWriter, write: _Write) -> None:
        super().__init__(*reader.source)
        self.projection, self.number = record.projection, record.number
        self.created = record.created
        self._writer = writer
        self._write = write
        gather = record.state is State.BUILDING
        self._pages = PageWriter(record.declared(), self._make, self._store, gather=gather)

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        """All rows and checkpoints of the page, or none."""
        await self._pages.apply(writes, checkpoints)

    async def _make(self, pages: Pages) -> Pages:
        """As they are: the rows of several pages are put together by what they are stored with."""
        return pages

    async def _store(self, pages: Pages, checkpoints: Sequence[Checkpoint]) -> None:
        together = merged(pages)
        await self._write(lambda: self._writer.store(together, checkpoints))

    async def publish(self) -> None:
        await self._pages.publish()

    async def abandon(self) -> None:
        await self._pages.discard()
        await self.aclose()

    async def _settled(self) -> None:
        await self._pages.settle()

    async def aclose(self) -> None:
        try:
            await self._pages.settle()
        finally:
            await super().aclose()
            await self._write(self._writer.close)


def _record(projection: str, number: int, state: str, version: int, created: int, tables: str) -> Record:
    return Record(
        projection=projection,
        number=number,
        state=State(state),
        version=version,
        created=DECODERS["timestamp"](created),
        tables=tables,
    )
