"""The production read store: every generation's tables in one Cassandra keyspace, named `<table>_g<number>`.

Rows first, then the checkpoint: after a crash between them the same facts are applied again, which changes nothing.
Compaction forgets a delete ten days later (gc_grace_seconds): a replay that brings an older put again goes on to the
delete that came after it, since it ends at the checkpoint or beyond.
Records of generations and checkpoints carry a timestamp above every one that was seen, so that a clock that runs
behind on another machine can't hide a newer write.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cassandra.query import BatchStatement, BatchType

from domain.recorded import Checkpoint
from infra.readstore import ddl
from infra.readstore.cassandra import statements as cql
from infra.readstore.cassandra import wire
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.cassandra.reader import CassandraReader, bound
from infra.readstore.cassandra.session import CassandraSession
from infra.readstore.cassandra.writer import BoundRow, CassandraWriter
from infra.readstore.cells import ENCODERS
from infra.readstore.gathering import PageWriter
from infra.readstore.shape import Shape
from infra.readstore.store import ReadStore, Record, State
from projections.port import Table, Write


class Clock:
    """Timestamps in microseconds: now, but above whatever was seen or given before."""

    def __init__(self) -> None:
        self._last = 0

    def see(self, timestamp: int | None) -> None:
        self._last = max(self._last, timestamp or 0)

    def next(self) -> bytes:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return wire.long_(self._last)


class CassandraReadStore(ReadStore):
    def __init__(self, config: CassandraConfig) -> None:
        super().__init__()
        self._session = CassandraSession(config)
        self._clock = Clock()

    async def open(self) -> None:
        await self._session.open()

    async def _close(self) -> None:
        await self._session.aclose()

    async def ready(self) -> None:
        """At the consistency of every read."""
        await self._load()

    # Generations

    async def _load(self) -> list[Record]:
        select = await self._session.prepare(self._session.control.select_records)
        rows = await self._session.rows(bound(select, []))
        for *_, live_at, state_at in rows:
            self._clock.see(live_at)
            self._clock.see(state_at)
        live = {projection: pointed for projection, number, pointed, *_ in rows if number == 0}
        return [
            Record(
                projection=projection,
                number=number,
                state=State.LIVE if live.get(projection) == number else State(state),
                version=version,
                created=created.replace(tzinfo=UTC),
                tables=tables or "",
            )
            for projection, number, _, state, version, created, tables, *_ in rows
            # A late mark of a generation that was dropped meanwhile leaves a row without its beginning.
            if number and created is not None
        ]

    async def _create(self, projection: str, number: int, version: int) -> None:
        created = ENCODERS["timestamp"](datetime.now(UTC))
        await self._control(
            self._session.control.insert_record,
            projection.encode(),
            wire.long_(number),
            State.BUILDING.encode(),
            wire.long_(version),
            wire.long_(created),
            self._clock.next(),
        )

    async def _set_tables(self, record: Record, tables: str) -> None:
        await self._control(
            self._session.control.set_tables, self._clock.next(), tables.encode(), *_name(record)
        )

    async def _mark(self, projection: str, states: Mapping[int, State]) -> None:
        """In one batch of one partition, so all of them or none."""
        mark = await self._session.prepare(self._session.control.set_state)
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        for number, state in states.items():
            binds = [self._clock.next(), state.encode(), projection.encode(), wire.long_(number)]
            batch.add(bound(mark, binds))
        await self._session.run([batch])

    async def _set_live(self, projection: str, number: int) -> None:
        # "retired" is what it will be when another one is live.
        mark = await self._session.prepare(self._session.control.set_state)
        point = await self._session.prepare(self._session.control.set_live)
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        name = projection.encode()
        batch.add(bound(mark, [self._clock.next(), State.RETIRED.encode(), name, wire.long_(number)]))
        batch.add(bound(point, [self._clock.next(), wire.long_(number), name, wire.long_(0)]))
        await self._session.run([batch])

    async def _drop(self, record: Record) -> None:
        await self._mark(record.projection, {record.number: State.DROPPING})
        for table in record.declared():
            await self._session.schema(f'DROP TABLE IF EXISTS "{cql.table_name(table.name, record.number)}"')
        await self._control(self._session.control.delete_checkpoints, self._clock.next(), *_name(record))
        await self._control(self._session.control.delete_record, self._clock.next(), *_name(record))

    async def _control(self, text: str, *binds: bytes) -> None:
        await self._session.run([bound(await self._session.prepare(text), binds)])

    def _reader(self, record: Record) -> CassandraReader:
        return CassandraReader(self._session, record.number, record.declared())

    async def _writer(self, record: Record) -> CassandraGeneration:
        for table in record.declared():
            name = cql.table_name(table.name, record.number)
            # What the driver knows of the tables may be a moment old; a generation that is being built may be new.
            if record.state is State.BUILDING or not self._session.has_table(name):
                await self._session.schema(ddl.cassandra_table(Shape(table), name))
        select = await self._session.prepare(self._session.control.select_checkpoint_times)
        for (written_at,) in await self._session.rows(bound(select, _name(record))):
            self._clock.see(written_at)
        return CassandraGeneration(self._session, record, self._clock)


class CassandraGeneration(CassandraReader):
    """projections.port.Generation on its own tables: its reads are its own rows, live or not."""

    def __init__(self, session: CassandraSession, record: Record, clock: Clock) -> None:
        tables: Sequence[Table] = record.declared()
        super().__init__(session, record.number, tables)
        self.projection, self.created = record.projection, record.created
        self._writer = CassandraWriter(session, record.number)
        self._clock = clock
        gather = record.state is State.BUILDING
        self._pages = PageWriter(tables, self._writer.make, self._store, gather=gather)

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        """Rows, then checkpoints."""
        await self._pages.apply(writes, checkpoints)

    async def publish(self) -> None:
        await self._pages.publish()

    async def abandon(self) -> None:
        await self._pages.discard()
        await self.aclose()

    async def _settled(self) -> None:
        await self._pages.settle()

    async def aclose(self) -> None:
        await self._pages.settle()
        await super().aclose()

    async def _store(self, rows: Sequence[BoundRow], checkpoints: Sequence[Checkpoint]) -> None:
        await self._writer.store(rows)
        if not checkpoints:
            return
        insert = await self._session.prepare(self._session.control.insert_checkpoint)
        await self._session.run(
            bound(
                insert,
                [
                    self.projection.encode(),
                    wire.long_(self.number),
                    one.stream.encode(),
                    wire.long_(one.position),
                    one.epoch.encode(),
                    one.digest.encode(),
                    self._clock.next(),
                ],
            )
            for one in checkpoints
        )


def _name(record: Record) -> list[bytes]:
    return [record.projection.encode(), wire.long_(record.number)]
