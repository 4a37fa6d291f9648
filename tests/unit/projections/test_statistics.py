"""Statistics by hour: exact whatever the order and however often a fact is told."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest

from domain.delivery import OutcomeSlice, Receipt, Result
from domain.outcome import Accepted
from domain.recorded import DELIVERY, Recorded
from projections.statistics import Statistics, hours_of, total
from tests.unit.projections.histories import projected

MESSAGE = UUID(int=7)
SPAN = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def outcome(size: int, at: datetime) -> OutcomeSlice:
    results = (Result(UUID(int=1), UUID(int=2), Accepted("id")),) * size
    return OutcomeSlice(
        realm="main",
        message=MESSAGE,
        channel="webpush",
        dispatch="d",
        source="",
        attempt=1,
        first=0,
        results=results,
        ended_at=at,
    )


def recorded(position: int, body: Receipt | OutcomeSlice, at: datetime) -> Recorded:
    return Recorded(stream=DELIVERY, position=position, subject="", topic="x", realm="main", at=at, body=body)


async def test_neighbours_on_the_log_share_a_row_and_every_order_gives_the_same_sums() -> None:
    """Receipts and slices of any sizes, told twice and backwards, at positions that fill rows and leave gaps."""
    rng, facts = Random(5), []
    expected: Counter[str] = Counter()
    for position in sorted(rng.sample(range(1, 2_000), 700)):
        at = datetime(2026, 1, 1, rng.randrange(3), tzinfo=UTC)
        body: Receipt | OutcomeSlice
        if rng.random() < 0.2:
            size = rng.randrange(1, 900)
            body = outcome(size, at)
            expected.update(delivered=size, billableSends=size, sent=size)
        else:
            clicked = rng.random() < 0.5
            body = Receipt("main", MESSAGE, "webpush", None, None, "clicked" if clicked else "delivered", at)
            expected["clicks" if clicked else "received"] += 1
        facts.append(recorded(position, body, at))
    for told in (facts, [*reversed(facts), *facts]):
        found = total(await hours_of(projected((Statistics(),), told), "main", MESSAGE, *SPAN))
        assert {name: number for name, number in found.items() if number} == dict(expected)


def test_more_at_once_than_a_cell_can_hold_is_no_number_at_all() -> None:
    """A slice that large is made by nobody; if it were, it would be named as poison instead of counted wrongly."""
    at = SPAN[0]
    with pytest.raises(ValueError, match="too many"):
        list(Statistics().project(recorded(1, outcome(131_072, at), at)))
    assert list(Statistics().project(recorded(1, outcome(131_071, at), at)))
