"""How long the statistics of a message to a million, 100,000 of whom clicked, take to read, on SQLite.

.venv/bin/python -m bench.message_statistics
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from domain.delivery import OutcomeSlice, Receipt, Result
from domain.outcome import Accepted
from domain.recorded import DELIVERY, Recorded
from infra.readstore.config import read_store
from projections.port import Write
from projections.statistics import Statistics, hours_of, total

SLICE, DELIVERIES, CLICKS, READS = 200, 1_000_000, 100_000, 20
"""A slice of web push, the smallest there is."""
AT = datetime(2026, 1, 1, tzinfo=UTC)


def facts(message: UUID) -> list[Write]:
    """The rows of all slices, sent over three hours."""
    results = (Result(uuid4(), uuid4(), Accepted("id")),) * SLICE
    writes: list[Write] = []
    for number in range(DELIVERIES // SLICE):
        at = AT + timedelta(seconds=number * 2)
        ended = OutcomeSlice(
            realm="main",
            message=message,
            channel="webpush",
            dispatch=f"{message.hex}-{number}-1",
            source="",
            attempt=number + 1,
            first=0,
            results=results,
            ended_at=at,
        )
        fact = Recorded(
            stream=DELIVERY,
            position=number + 1,
            subject="",
            topic="outcome.v1",
            realm="main",
            at=at,
            body=ended,
        )
        writes += Statistics().project(fact)
    return writes


def clicks(message: UUID) -> list[Write]:
    """Over the same three hours, one after another on the log as in a campaign's rush."""
    writes: list[Write] = []
    for number in range(CLICKS):
        at = AT + timedelta(seconds=number / 10)
        click = Receipt(
            realm="main", message=message, channel="webpush", contact=None, client=None, kind="clicked", at=at
        )
        fact = Recorded(
            stream=DELIVERY,
            position=DELIVERIES // SLICE + number + 1,
            subject="",
            topic="receipt.v1",
            realm="main",
            at=at,
            body=click,
        )
        writes += Statistics().project(fact)
    return writes


async def measure(folder: Path) -> tuple[dict[str, int], list[float]]:
    message, projection = uuid4(), Statistics()
    async with read_store(folder) as store:
        number = await store.begin(projection.name, projection.version)
        generation = await store.generation(projection.name, number, projection.tables)
        await store.switch(projection.name, number)
        await generation.apply([*facts(message), *clicks(message)], [])
        took_ms, counts = [], {}
        for _ in range(READS):
            began = time.perf_counter()
            counts = total(await hours_of(store, "main", message, AT, AT + timedelta(days=1)))
            took_ms.append((time.perf_counter() - began) * 1000)
        return counts, sorted(took_ms)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        counts, took_ms = asyncio.run(measure(Path(folder)))
    median, worst = took_ms[len(took_ms) // 2], took_ms[-1]
    said = f"{counts['delivered']:,} deliveries, {counts['clicks']:,} clicks"
    sys.stdout.write(f"{said}: median {median:.0f} ms, worst {worst:.0f} ms\n")


if __name__ == "__main__":
    main()
