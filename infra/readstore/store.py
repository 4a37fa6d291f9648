"""What both read stores share: generations, and reads that always go to the live one.

Owns the life of a generation and the routing of reads; a backend adds how records, rows and checkpoints are kept.
Never decides when to switch.

Two processes may read while a third switches: what is live is asked again every 400 ms, and a read that hits a
generation just dropped is asked once more of the live one.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

import msgspec

from domain.errors import Conflict, NotFound, Unavailable
from domain.recorded import Checkpoint
from infra.readstore.shape import check_names, declaration, declared, same_tables
from projections.port import Generation, GenerationInfo, Key, ReadModels, Row, Table

REFRESH_S = 0.4
"""A switch is to be seen within a second, so asking twice in that time leaves room for a slow answer."""

Identity = tuple[str, int, datetime]


class State(StrEnum):
    """building: never live. offered: complete. retired: was live or offered. dropping: half gone."""

    BUILDING = "building"
    OFFERED = "offered"
    LIVE = "live"
    RETIRED = "retired"
    DROPPING = "dropping"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a store keeps about a generation. tables: their declaration, "" until it is first opened."""

    projection: str
    number: int
    state: State
    version: int
    created: datetime
    tables: str

    @property
    def identity(self) -> Identity:
        """Tells a generation from a later one that got its number."""
        return self.projection, self.number, self.created

    def declared(self) -> list[Table]:
        return declared(self.tables) if self.tables else []

    def info(self) -> GenerationInfo:
        return GenerationInfo(
            projection=self.projection,
            number=self.number,
            version=self.version,
            state=self.state.value,  # type: ignore[arg-type]  # dropping is left out by the caller
            created=self.created,
        )


class Reader(ReadModels, Protocol):
    """Reads of one generation."""

    def scan(self, table: Table) -> AsyncIterator[list[Row]]: ...

    async def digest(self, table: Table) -> tuple[int, str]: ...

    async def aclose(self) -> None: ...


class Writable(Generation, Protocol):
    """A generation with its writer. While it is being built it may store later than `apply` returns."""

    async def publish(self) -> None:
        """From now on `apply` returns when its page is stored, for all to read."""
        ...

    async def abandon(self) -> None:
        """Close it, with nothing more stored."""
        ...

    async def aclose(self) -> None: ...


class ReadStore(ABC):
    """Read models on one database. Open it, or use it as a context manager.

    Errors: Unavailable when the database does not answer in time, or when a projection has no live generation yet.
    """

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = {}
        self._asked_at = -REFRESH_S
        self._asking = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._readers: dict[Identity, Reader] = {}
        self._writers: dict[Identity, Writable] = {}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # The life of the store

    @abstractmethod
    async def open(self) -> None: ...

    async def aclose(self) -> None:
        for opened in [*self._readers.values(), *self._writers.values()]:
            await opened.aclose()
        self._readers.clear()
        self._writers.clear()
        await self._close()

    @abstractmethod
    async def ready(self) -> None:
        """Raises Unavailable unless the database answers now."""

    # projections.port.Generations

    async def generations(self, projection: str) -> list[GenerationInfo]:
        return [record.info() for record in await self._of(projection) if record.state is not State.DROPPING]

    async def live(self, projection: str) -> int | None:
        return await self._first(projection, State.LIVE)

    async def offered(self, projection: str) -> int | None:
        return await self._first(projection, State.OFFERED)

    async def begin(self, projection: str, version: int) -> int:
        """Also finishes what a killed process began to drop, and drops what another version left unfinished."""
        records = await self._of(projection)
        for record in records:
            match record.state:
                case State.BUILDING if record.version == version:
                    return record.number
                case State.BUILDING | State.DROPPING:
                    await self._drop_record(record)
                case _:
                    continue
        number = max((record.number for record in records), default=0) + 1
        await self._create(projection, number, version)
        return number

    async def generation(self, projection: str, number: int, tables: Sequence[Table]) -> Generation:
        """The same object each time; closed with the store, or when it is offered or dropped.

        NotFound: there is none. Conflict: it was built with other tables, or another process writes into it.
        """
        check_names(projection, tables)
        async with self._opening:
            record = await self._existing(projection, number)
            if (known := self._writers.get(record.identity)) is not None:
                return known
            if not record.tables:
                record = await self._declare(record, declaration(tables))
            if not same_tables(record.declared(), tables):
                raise Conflict(f"generation {number} of {projection} was built with other tables: rebuild it")
            writer = self._writers[record.identity] = await self._writer(record)
            return writer

    async def abandon(self, generation: Generation) -> None:
        for identity, writer in self._writers.items():
            if writer is generation:
                del self._writers[identity]
                await writer.abandon()
                return

    async def offer(self, projection: str, number: int) -> None:
        """Whoever filled it lets go of it here, so that the projecting process can take it over."""
        record = await self._existing(projection, number)
        if record.state is State.LIVE:
            return
        await self._close_writer(record)
        others = [r.number for r in await self._of(projection) if r.state is State.OFFERED]
        await self._mark(projection, {**dict.fromkeys(others, State.RETIRED), number: State.OFFERED})

    async def switch(self, projection: str, number: int) -> None:
        """NotFound: there is no such generation."""
        record = await self._existing(projection, number)
        if (writer := self._writers.get(record.identity)) is not None:
            await writer.publish()
        await self._set_live(projection, number)
        self._forget()

    async def drop(self, projection: str, number: int) -> None:
        """Rows and checkpoints too. Conflict: it is live, or being filled. One that is not there is fine."""
        record = next((r for r in await self._of(projection) if r.number == number), None)
        if record is None:
            return
        if record.state is State.LIVE:
            raise Conflict(f"generation {number} of {projection} is live")
        await self._drop_record(record)

    async def _drop_record(self, record: Record) -> None:
        await self._close_writer(record)
        await self._drop(record)
        self._forget()

    async def _of(self, projection: str) -> list[Record]:
        records = [record for record in await self._load() if record.projection == projection]
        return sorted(records, key=lambda record: record.number)

    async def _existing(self, projection: str, number: int) -> Record:
        for record in await self._of(projection):
            if record.number == number and record.state is not State.DROPPING:
                return record
        raise NotFound(f"{projection} has no generation {number}")

    async def _first(self, projection: str, state: State) -> int | None:
        return next((r.number for r in await self._of(projection) if r.state is state), None)

    async def _declare(self, record: Record, tables: str) -> Record:
        await self._set_tables(record, tables)
        return msgspec.structs.replace(record, tables=tables)

    async def _close_writer(self, record: Record) -> None:
        if (writer := self._writers.pop(record.identity, None)) is not None:
            await writer.aclose()

    # Reads, of what is live

    async def get(self, table: Table, key: Key) -> Row | None:
        return await self._ask(table.projection, lambda models: models.get(table, key))

    async def get_many(self, table: Table, keys: Sequence[Key]) -> list[Row | None]:
        return await self._ask(table.projection, lambda models: models.get_many(table, keys))

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
        return await self._ask(
            table.projection,
            lambda models: models.range(
                table, partition, after=after, before=before, limit=limit, backwards=backwards
            ),
        )

    async def range_many(
        self, table: Table, partitions: Sequence[Key], *, limit_each: int = 500
    ) -> dict[Key, list[Row]]:
        return await self._ask(
            table.projection, lambda models: models.range_many(table, partitions, limit_each=limit_each)
        )

    async def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        """As Generation.scan, of the generation that is live at the start."""
        async for rows in (await self._reader_of(table.projection)).scan(table):
            yield rows

    async def digest(self, table: Table) -> tuple[int, str]:
        """As Generation.digest, of the live generation; exact while nothing is written."""
        return await self._ask(table.projection, lambda reader: reader.digest(table))

    async def checkpoint(self, projection: str, stream: str) -> Checkpoint | None:
        if not await self.has_live(projection):
            return None
        return await self._ask(projection, lambda models: models.checkpoint(projection, stream))

    async def _ask[T](self, projection: str, question: Callable[[Reader], Awaitable[T]]) -> T:
        reader = await self._reader_of(projection)
        try:
            return await question(reader)
        except Unavailable:
            self._forget()
            if (now := await self._reader_of(projection)) is reader:
                raise
            return await question(now)

    async def _reader_of(self, projection: str) -> Reader:
        await self._refresh()
        record = self._live_record(projection)
        if record is None:
            raise Unavailable(f"the read model {projection} is not built yet")
        if record.identity not in self._readers:
            self._readers[record.identity] = self._reader(record)
        return self._readers[record.identity]

    async def has_live(self, projection: str) -> bool:
        """Whether it can be read, as of a second ago at most."""
        await self._refresh()
        return self._live_record(projection) is not None

    def _live_record(self, projection: str) -> Record | None:
        return next((r for r in self._records.get(projection, ()) if r.state is State.LIVE), None)

    def _forget(self) -> None:
        """What is live is asked anew by the next read."""
        self._asked_at = -REFRESH_S

    async def _refresh(self) -> None:
        if time.monotonic() - self._asked_at < REFRESH_S:
            return
        async with self._asking:
            if (asked_at := time.monotonic()) - self._asked_at < REFRESH_S:
                return
            records: dict[str, list[Record]] = {}
            for record in await self._load():
                records.setdefault(record.projection, []).append(record)
            self._records, self._asked_at = records, asked_at
            await self._close_dropped()

    async def _close_dropped(self) -> None:
        kept = {record.identity for records in self._records.values() for record in records}
        for opened in (self._readers, self._writers):
            for gone in [identity for identity in opened if identity not in kept]:
                await opened.pop(gone).aclose()

    # What a backend adds

    @abstractmethod
    async def _close(self) -> None: ...

    @abstractmethod
    async def _load(self) -> list[Record]: ...

    @abstractmethod
    async def _create(self, projection: str, number: int, version: int) -> None: ...

    @abstractmethod
    async def _set_tables(self, record: Record, tables: str) -> None: ...

    @abstractmethod
    async def _mark(self, projection: str, states: Mapping[int, State]) -> None:
        """All of them, or none."""

    @abstractmethod
    async def _set_live(self, projection: str, number: int) -> None:
        """At once: a reader sees the old one or the new one live, never both or none."""

    @abstractmethod
    async def _drop(self, record: Record) -> None:
        """Mark it as dropping, remove its rows and checkpoints, then its record."""

    @abstractmethod
    def _reader(self, record: Record) -> Reader: ...

    @abstractmethod
    async def _writer(self, record: Record) -> Writable:
        """Its tables are made where they are missing."""
