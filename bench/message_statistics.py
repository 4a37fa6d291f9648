"""How long the statistics of a message to a million take to read, when each arrival and many clicks are reported.

    .venv/bin/python -m bench.message_statistics [--store sqlite|cassandra] [--deliveries 1000000] [--blocks no]

Slices of 200, then a receipt for each delivery and one for each tenth that clicked, as one projector writes them. With
`--blocks no` nothing is summed beforehand. For Cassandra set MSGXC_CASSANDRA=host:port, else a node is started.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from domain.deliveries.delivery import OutcomeSlice, Receipt, ReceiptKind, Result
from domain.deliveries.outcome import Accepted
from domain.recorded import DELIVERY, Recorded
from infra.cassandra_node.node import CassandraNode
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from processes.models.blocks import OpenBlock
from projections.port import Generation, Write
from projections.statistics import Statistics, hours_of, total

SLICE, READS, BATCH = 200, 20, 500
"""A slice of web push, the smallest there is."""
AT = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 3


def facts(message: UUID, deliveries: int) -> Iterator[Recorded]:
    """One after another on the log, sent and reported over three hours."""
    results = (Result(uuid4(), uuid4(), Accepted("id")),) * SLICE
    slices, clicks = deliveries // SLICE, deliveries // 10
    for number in range(slices):
        ended = OutcomeSlice(
            realm="main",
            message=message,
            channel="webpush",
            dispatch=f"{message.hex}-{number}-1",
            source="",
            attempt=number + 1,
            first=0,
            results=results,
            ended_at=AT + timedelta(hours=HOURS) * (number / slices),
        )
        yield _fact(number + 1, ended)
    position = slices
    reports: tuple[tuple[ReceiptKind, int], ...] = (("delivered", deliveries), ("clicked", clicks))
    for kind, count in reports:
        for number in range(count):
            position += 1
            yield _fact(position, _receipt(message, kind, AT + timedelta(hours=HOURS) * (number / count)))


def _receipt(message: UUID, kind: ReceiptKind, at: datetime) -> Receipt:
    return Receipt(
        realm="main", message=message, channel="webpush", contact=None, client=None, kind=kind, at=at
    )


def _fact(position: int, body: OutcomeSlice | Receipt) -> Recorded:
    return Recorded(stream=DELIVERY, position=position, subject="", topic="x", realm="main", at=AT, body=body)


async def fill(generation: Generation, message: UUID, deliveries: int, *, with_blocks: bool) -> None:
    projection = Statistics()
    block, writes = OpenBlock(projection, 0), list[Write]()
    position = 0
    for fact in facts(message, deliveries):
        position = fact.position
        writes += projection.project(fact)
        if len(writes) >= BATCH:
            await _apply(generation, block, writes, position, with_blocks=with_blocks)
            writes = []
    await _apply(generation, block, writes, position, with_blocks=with_blocks)


async def _apply(
    generation: Generation, block: OpenBlock, writes: list[Write], position: int, *, with_blocks: bool
) -> None:
    sums = block.sums(writes, position) if with_blocks else []
    block.keep(writes, position)
    await generation.apply([*writes, *sums], [])


async def measure(
    store: ReadStore, deliveries: int, *, with_blocks: bool
) -> tuple[dict[str, int], list[float]]:
    message, projection = uuid4(), Statistics()
    number = await store.begin(projection.name, projection.version)
    generation = await store.generation(projection.name, number, projection.tables)
    await fill(generation, message, deliveries, with_blocks=with_blocks)
    await store.switch(projection.name, number)
    took_ms, counts = [], {}
    for _ in range(READS):
        began = time.perf_counter()
        counts = total(await hours_of(store, "main", message, AT, AT + timedelta(days=1)))
        took_ms.append((time.perf_counter() - began) * 1000)
    return counts, sorted(took_ms)


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[ReadStore]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "sqlite":
            async with read_store(folder) as store:
                yield store
            return
        given = os.environ.get("MSGXC_CASSANDRA", "")
        if given:
            host, _, port = given.partition(":")
            async with read_store(folder, _keyspace(host, int(port or 9042))) as store:
                yield store
            return
        with CassandraNode(folder) as node:
            async with read_store(folder, _keyspace(node.host, node.port)) as store:
                yield store


def _keyspace(host: str, port: int) -> CassandraConfig:
    return CassandraConfig(hosts=((host, port),), keyspace=f"bench_{os.getpid()}")


async def main() -> None:
    asked = parse()
    async with opened(asked.store) as store:
        counts, took_ms = await measure(store, asked.deliveries, with_blocks=asked.blocks == "yes")
    median, worst = took_ms[len(took_ms) // 2], took_ms[-1]
    said = f"{counts['delivered']:,} deliveries, {counts['received']:,} received, {counts['clicks']:,} clicks"
    sys.stdout.write(f"{asked.store}: {said}: median {median:.0f} ms, worst {worst:.0f} ms\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=("sqlite", "cassandra"), default="sqlite")
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--blocks", choices=("yes", "no"), default="yes")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
