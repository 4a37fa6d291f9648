"""Read stores: puts and reads a second, beside the same rows written with the bare driver.

    .venv/bin/python bench/read_store.py [--rows 100000] [--store sqlite|cassandra]

Each round writes pages of 500 facts, two puts a fact in two tables with random keys, and then the same pages through
the bare sqlite3 module (INSERT OR REPLACE, no positions) or the bare Cassandra driver (bound by itself, a batch of 50
for each partition). Rates of a busy machine wander; the CPU time and the ratio hold. For Cassandra set
MSGXC_CASSANDRA=host:port, else a node of its own is started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from domain.recorded import EVENTS, Checkpoint
from infra.cassandra_node.node import CassandraNode
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from infra.readstore.sqlite import reader as sqlite_reader
from infra.readstore.store import ReadStore
from projections.port import Generation, Put, Table

PAGE = 500
ROUNDS = 3
READS = 2_000
IN_FLIGHT = 32

MEMBERS = Table(
    projection="bench",
    name="bench_members",
    partition={"realm": "text", "thread": "uuid", "bucket": "bigint"},
    clustering={"contact": "uuid", "number": "bigint"},
    columns={"uid": "text", "from_at": "bigint", "channels": "json", "since": "timestamp"},
)
STATES = Table(
    projection="bench",
    name="bench_states",
    partition={"realm": "text", "client": "uuid"},
    columns={"channel": "text", "address": "text", "seen": "timestamp", "active": "boolean"},
)
NOW = datetime.now(UTC)
THREADS = [uuid4() for _ in range(4)]


def page(first: int) -> list[Put]:
    """Half of the puts share 64 partitions, the others have one each."""
    puts = []
    for position in range(first, first + PAGE):
        contact = UUID(bytes=random.randbytes(16), version=4)
        member = {"uid": f"user{position}", "from_at": position, "channels": ["apns"], "since": NOW}
        key = ("main", THREADS[position % 4], position // 4 % 16, contact, 1)
        puts.append(Put(MEMBERS, key, member, position))
        state = {"channel": "apns", "address": "a" * 64, "seen": NOW, "active": True}
        puts.append(Put(STATES, ("main", contact), state, position))
    return puts


Page = list[Put]
Writer = Callable[[Page, int], Awaitable[None]]


async def timed(write: Writer, pages: list[Page]) -> tuple[float, float]:
    """(puts a second, microseconds of this process's CPU for each)."""
    rows = sum(map(len, pages))
    cpu, start = time.process_time(), time.perf_counter()
    for number, one in enumerate(pages):
        await write(one, number)
    return rows / (time.perf_counter() - start), (time.process_time() - cpu) / rows * 1e6


async def generation_of(store: ReadStore, *, live: bool = True) -> Generation:
    number = await store.begin("bench", 1)
    generation = await store.generation("bench", number, [MEMBERS, STATES])
    if live:
        await store.switch("bench", number)
    return generation


def through_port(generation: Generation) -> Writer:
    async def write(one: Page, number: int) -> None:
        await generation.apply(one, [Checkpoint(EVENTS, (number + 1) * PAGE, "epoch")])

    return write


def bare_sqlite(folder: Path) -> Writer:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;"
        "PRAGMA cache_size = -32768;"
        "CREATE TABLE m (a TEXT, b BLOB, c INTEGER, d BLOB, e INTEGER, f TEXT, g INTEGER, h TEXT, i INTEGER,"
        " PRIMARY KEY (a, b, c, d, e)) WITHOUT ROWID;"
        "CREATE TABLE s (a TEXT, b BLOB, c TEXT, d TEXT, e INTEGER, f INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID"
    )

    async def write(one: Page, _: int) -> None:
        members = [put for put in one if put.table is MEMBERS]
        states = [put for put in one if put.table is STATES]
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT OR REPLACE INTO m VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (p.key[0], p.key[1].bytes, p.key[2], p.key[3].bytes, 1, "user", p.position, "[]", 1)
                for p in members
            ],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO s VALUES (?, ?, ?, ?, ?, ?)",
            [(p.key[0], p.key[1].bytes, "apns", p.values["address"], 1, 1) for p in states],
        )
        connection.execute("COMMIT")

    return write


async def reads(store: ReadStore, pages: list[Page]) -> None:
    """Microseconds of a read at once on the loop, and of the same read through a thread."""
    keys = [put.key for one in pages for put in one if put.table is STATES][:READS]
    partition = ("main", THREADS[0], 0)
    for limit, name in ((sqlite_reader.DIRECT_ROWS_MAX, "at once"), (0, "thread")):
        sqlite_reader.DIRECT_ROWS_MAX = limit
        start = time.perf_counter()
        for key in keys:
            await store.get_many(STATES, [key])
        one = (time.perf_counter() - start) / len(keys) * 1e6
        start = time.perf_counter()
        for _ in range(READS // 20):
            await store.range(MEMBERS, partition, limit=100)
        hundred = (time.perf_counter() - start) / (READS // 20) * 1e6
        rows = await store.range(MEMBERS, partition, limit=100)
        print(f"  read {name:8} one row {one:6.0f} us, {len(rows)} rows {hundred:6.0f} us")


async def sqlite(rows: int) -> None:
    pages = [page(1 + number * PAGE) for number in range(rows // PAGE // 2)]
    with tempfile.TemporaryDirectory() as folder:
        async with read_store(Path(folder)) as store:
            generation = await generation_of(store)
            await compare(through_port(generation), bare_sqlite(Path(folder)), pages)
            await build(store, pages)
            await reads(store, pages)


async def cassandra(rows: int) -> None:
    pages = [page(1 + number * PAGE) for number in range(rows // PAGE // 2)]
    with node() as (host, port):
        config = CassandraConfig(hosts=((host, port),), keyspace="bench")
        async with read_store(Path(), config) as store:
            generation = await generation_of(store)
            bare, close = bare_cassandra(host, port, generation.number)
            await compare(through_port(generation), bare, pages)
            close()
            await build(store, pages)
            await store.drop("bench", generation.number + 1)
            await store.drop("bench", generation.number - 1)


def bare_cassandra(host: str, port: int, number: int) -> tuple[Writer, Callable[[], None]]:
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.concurrent import execute_concurrent
    from cassandra.query import BatchStatement, BatchType, tuple_factory

    profile = ExecutionProfile(row_factory=tuple_factory)
    cluster = Cluster(
        [host], port=port, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile}
    )
    session = cluster.connect("bench")
    member = session.prepare(
        f"INSERT INTO bench_members_g{number} (realm, thread, bucket, contact, number, uid, from_at, channels, since)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    )
    state = session.prepare(
        f"INSERT INTO bench_states_g{number} (realm, client, channel, address, seen, active)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    )

    async def write(one: Page, _: int) -> None:
        batches: dict[object, BatchStatement] = {}
        single = []
        for put in one:
            if put.table is STATES:
                single.append((state, (*put.key, *put.values.values(), put.position)))
                continue
            batch = batches.setdefault(put.key[:3], BatchStatement(BatchType.UNLOGGED))
            key = (*put.key[:3], put.key[3].bytes, put.key[4])
            values = (put.values["uid"], put.values["from_at"], "[]", NOW)
            batch.add(member, (*key, *values, put.position))
        work = [*single, *((batch, None) for batch in batches.values())]
        execute_concurrent(session, work, concurrency=IN_FLIGHT)

    return write, cluster.shutdown


@contextlib.contextmanager
def node() -> Iterator[tuple[str, int]]:
    given = os.environ.get("MSGXC_CASSANDRA", "")
    if given:
        host, _, port = given.partition(":")
        yield host, int(port or 9042)
        return
    with tempfile.TemporaryDirectory() as folder, CassandraNode(Path(folder)) as started:
        yield started.host, started.port


async def compare(port: Writer, bare: Writer, pages: list[Page]) -> None:
    """Rounds of the one and the other by turns, so that both have the same machine."""
    size = len(pages) // ROUNDS
    for number in range(ROUNDS):
        some = pages[number * size : (number + 1) * size]
        rate, cpu = await timed(port, some)
        bare_rate, bare_cpu = await timed(bare, some)
        print(
            f"  apply {rate:8,.0f} puts/s ({cpu:4.1f} us of CPU)   bare {bare_rate:8,.0f} ({bare_cpu:4.1f} us)"
            f"   ratio {rate / bare_rate:4.2f}"
        )


async def build(store: ReadStore, pages: list[Page]) -> None:
    """The same pages into a generation that is being built."""
    generation = await generation_of(store, live=False)
    write = through_port(generation)

    async def last_waits(one: Page, number: int) -> None:
        await write(one, number)
        if number == len(pages) - 1:
            await generation.checkpoint("bench", EVENTS)

    rate, cpu = await timed(last_waits, pages)
    print(f"  build {rate:8,.0f} puts/s ({cpu:4.1f} us of CPU)")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--store", choices=["sqlite", "cassandra"])
    given = parser.parse_args()
    print(f"machine: {machine()}; {given.rows:,} rows")
    for name, bench in (("sqlite", sqlite), ("cassandra", cassandra)):
        if given.store in (None, name):
            print(name)
            await bench(given.rows)


if __name__ == "__main__":
    asyncio.run(main())
