"""Rebuilding read models: events a second, beside a consumer that reads the same stream and does nothing.

    make bench-rebuild        or: .venv/bin/python bench/rebuild.py [--events 1000000] [--store sqlite|cassandra]

The log holds contacts, subscriptions and messages in equal parts, appended through the event store. Peak memory is
printed at each quarter: it has to stay flat. For Cassandra set MSGXC_CASSANDRA=host:port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.rig.machine import machine
from cli.serve.lifetime import settle_memory
from domain.aggregate import Aggregate
from domain.contact import Contact
from domain.context import Context
from domain.ids import Ids
from domain.message import Content, Message, ToThread
from domain.recorded import EVENTS
from domain.subscription import Subscription
from infra.log.log import JetStreamLog
from infra.log.opened import LogConfig, open_log
from infra.log.ordered import OrderedReader
from infra.nats.leases import Lease
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.wire.connection import Endpoint
from infra.readstore.store import ReadStore
from processes.models.filling import lease_name
from processes.models.rebuild import Progress, build
from projections.catalogue import ALL

BATCH = 300
EVENTS_MAX = 5_000_000
IDS = Ids(b"a key for benchmarks, 32 bytes..")
THREAD = IDS.thread("main", "bench")


def aggregates(count: int) -> Iterator[Aggregate]:
    """One event each."""
    now = datetime.now(UTC)
    for number in range(count):
        contact = IDS.derive("main", "contact", f"u{number // 3}")
        match number % 3:
            case 0:
                yield Contact.create(id=contact, at=now, uid=f"u{number // 3}")
            case 1:
                yield _subscription(contact, f"u{number // 3}", now)
            case _:
                yield _message(number, now)


def _subscription(contact: UUID, uid: str, now: datetime) -> Subscription:
    id = IDS.subscription("main", THREAD, contact)
    return Subscription.start(id=id, at=now, thread=THREAD, contact=contact, tid="bench", uid=uid)


def _message(number: int, now: datetime) -> Message:
    return Message.accept(
        id=IDS.message("main", str(number), thread=THREAD),
        at=now,
        audience=ToThread(THREAD),
        content=Content("x" * 120, "Subject", {"sound": "ping.aiff"}),
        sender="bench",
        tid="bench",
        expires_at=now + timedelta(days=1),
    )


async def fill(log: JetStreamLog, count: int) -> None:
    pending: list[Aggregate] = []
    started = time.perf_counter()
    for number, aggregate in enumerate(aggregates(count), 1):
        pending.append(aggregate)
        if len(pending) == BATCH or number == count:
            await log.events.save(*pending, context=Context())
            pending = []
        if number % 100_000 == 0:
            print(
                f"  {number:,} events appended, {number / (time.perf_counter() - started):,.0f}/s",
                file=sys.stderr,
            )


async def bare(log: JetStreamLog, count: int) -> float:
    """Messages a second that an ordered consumer of ours gets when nothing is done with them."""

    async def nothing() -> None:
        return

    reader = OrderedReader(log.js, EVENTS, subjects=(), position=0, batch=500, check=nothing)
    started, seen = time.perf_counter(), 0
    async for messages in reader.batches():
        seen += len(messages)
        if seen >= count:
            break
    return seen / (time.perf_counter() - started)


async def rebuild(log: JetStreamLog, store: ReadStore, name: str, count: int) -> float:
    projection = next(each for each in ALL if each.name == name)
    marks: list[str] = []

    def progress(at: Progress) -> None:
        if at.done * 4 // count > len(marks):
            marks.append(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")

    started = time.perf_counter()
    lease = Lease(log.js, lease_name(name), asyncio.Event())
    await build(log, store, projection, lease=lease, on_progress=progress)
    elapsed = time.perf_counter() - started
    print(f"  {name}: peak MiB at each quarter {', '.join(marks)}")
    return count / elapsed


@asynccontextmanager
async def opened_store(kind: str, folder: Path) -> AsyncIterator[ReadStore]:
    if kind == "sqlite":
        from infra.readstore.sqlite.store import SqliteReadStore

        async with SqliteReadStore(folder / "models") as store:
            yield store
        return
    from infra.readstore.cassandra.config import CassandraConfig
    from infra.readstore.cassandra.store import CassandraReadStore

    host, _, port = os.environ["MSGXC_CASSANDRA"].partition(":")
    config = CassandraConfig(hosts=((host, int(port or 9042)),), keyspace=f"bench_{os.getpid()}")
    async with CassandraReadStore(config) as store:
        yield store


async def main() -> None:
    arguments = parse()
    count = min(arguments.events, EVENTS_MAX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = NatsServer(ServerConfig(folder=folder / "nats", sync="2m"))
        await server.start()
        try:
            endpoint = Endpoint(urls=server.url, token=server.token, name="bench")
            async with open_log(LogConfig(endpoint=endpoint), master_key=b"m" * 32) as log:
                await fill(log, count)
                settle_memory()
                async with opened_store(arguments.store, folder) as store:
                    await measure(log, store, arguments, count)
        finally:
            await server.stop()


async def measure(log: JetStreamLog, store: ReadStore, arguments: argparse.Namespace, count: int) -> None:
    print(f"machine: {machine()}; {count:,} events")
    for name in arguments.projections:
        reference = await bare(log, count)
        rate = await rebuild(log, store, name, count)
        print(
            f"rebuild {name} on {arguments.store}: {rate:,.0f} events/s; bare consumer {reference:,.0f}/s; "
            f"ratio {rate / reference:.2f}"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--store", choices=("sqlite", "cassandra"), default="sqlite")
    parser.add_argument("projections", nargs="*", default=["messages", "threads"])
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
