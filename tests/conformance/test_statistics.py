"""A message's statistics on each backend: the figures that its facts add up to, with and without sums of blocks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from domain.deliveries.delivery import OutcomeSlice, Receipt, ReceiptKind, Result
from domain.deliveries.outcome import Accepted, Gone, Rejected
from domain.recorded import DELIVERY, Checkpoint, Recorded
from infra.readstore.store import ReadStore
from processes.models.blocks import OpenBlock
from projections.port import Write
from projections.statistics import BLOCK, Statistics, hours_of, total

AT = datetime(2026, 1, 1, tzinfo=UTC)
DELIVERIES, SLICE = 100_000, 200
OUTCOMES = (Accepted("id"), Accepted("id"), Accepted("id"), Gone("410"), Rejected("413"))


KINDS: tuple[ReceiptKind, ...] = ("delivered", "clicked")


def sends(message: UUID, rng: Random, expected: Counter[str]) -> list[Recorded]:
    """Slices and reports of a message over two days, at places all over some blocks of the log."""
    places = sorted(rng.sample(range(1, 6 * BLOCK), DELIVERIES // SLICE + 2_000))
    slices = set(rng.sample(places, DELIVERIES // SLICE))
    found = []
    for place in places:
        at = AT + timedelta(hours=48 * place / (6 * BLOCK))
        body: OutcomeSlice | Receipt
        if place in slices:
            outcomes = rng.choices(OUTCOMES, k=SLICE)
            expected.update(type(each).__name__ for each in outcomes)
            results = tuple(Result(uuid4(), uuid4(), outcome) for outcome in outcomes)
            body = OutcomeSlice("main", message, "webpush", f"d-{place}", "", 1, 0, results, at)
        else:
            kind = rng.choice(KINDS)
            expected[kind] += 1
            body = Receipt("main", message, "webpush", None, None, kind, at)
        found.append(
            Recorded(stream=DELIVERY, position=place, subject="", topic="x", realm="main", at=at, body=body)
        )
    return found


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_hundred_thousand_deliveries_are_counted_to_the_last(
    store: ReadStore, is_whole: bool
) -> None:
    """Exact for all of its hours and for some of them, also where the first block could not be summed."""
    expected: Counter[str] = Counter()
    statistics, message = Statistics(), uuid4()
    facts = sends(message, Random(3), expected)
    number = await store.begin(statistics.name, statistics.version)
    generation = await store.generation(statistics.name, number, statistics.tables)
    block = OpenBlock(statistics, 0)
    block.is_whole = is_whole
    for first in range(0, len(facts), 500):
        batch = facts[first : first + 500]
        last = batch[-1].position
        writes: list[Write] = [write for fact in batch for write in statistics.project(fact)]
        checkpoint = Checkpoint(DELIVERY, last, "epoch")
        await generation.apply([*writes, *block.sums(writes, last)], [checkpoint])
        block.keep(writes, last)
    await store.switch(statistics.name, number)
    found = await hours_of(store, "main", message, AT, AT + timedelta(days=3))
    assert total(found) == {
        "sent": DELIVERIES,
        "delivered": expected["Accepted"],
        "notDelivered": expected["Gone"] + expected["Rejected"],
        "billableSends": expected["Accepted"] + expected["Gone"],
        "clicks": expected["clicked"],
        "received": expected["delivered"],
        "actionClick": 0,
    }
    noon = AT + timedelta(hours=12)
    half = await hours_of(store, "main", message, noon, noon + timedelta(hours=24))
    assert half == {hour: counts for hour, counts in found.items() if noon <= hour < noon + timedelta(days=1)}
    assert await statistics.check(generation) == []
