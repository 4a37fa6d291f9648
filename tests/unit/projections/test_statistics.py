"""Statistics by hour: exact whatever the order and however often a fact is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from domain.deliveries.delivery import OutcomeSlice, Receipt, Result
from domain.deliveries.outcome import Accepted
from domain.recorded import DELIVERY, Checkpoint, Recorded
from processes.models.blocks import OpenBlock
from projections.port import Put, Write
from projections.statistics import BLOCK, BLOCKS, FIRST, HOURS, LAST, UNSUMMED, Statistics, hours_of, total
from tests.memory.ports.read_models import MemoryReadModels
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


class Seen(MemoryReadModels):
    """Counts the rows of neighbours that are read."""

    rows_read = 0

    async def range(self, table: Any, *given: Any, **more: Any) -> list[Any]:
        rows = await super().range(table, *given, **more)
        self.rows_read += len(rows) if table is HOURS else 0
        return rows


def summed(facts: Sequence[Recorded], *, is_whole: bool = True) -> Seen:
    """Read models that were given these facts in batches, with the sums of finished blocks."""
    rng, models, statistics = Random(7), Seen(), Statistics()
    block = OpenBlock(statistics, 0)
    block.is_whole = is_whole
    rest = list(facts)
    while rest:
        size = rng.randrange(1, 60)
        batch, rest = rest[:size], rest[size:]
        writes: list[Write] = [write for fact in batch for write in statistics.project(fact)]
        models.apply([*writes, *block.sums(writes, batch[-1].position)])
        block.keep(writes, batch[-1].position)
    return models


def clicks_over(blocks: int) -> list[Recorded]:
    """Clicks and slices at positions all over some blocks, the first and last position of one among them."""
    rng, facts = Random(11), []
    edges = {BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK}
    for position in sorted({*rng.sample(range(1, blocks * BLOCK), 900), *edges}):
        at = datetime(2026, 1, 1, rng.randrange(4), tzinfo=UTC)
        click = Receipt("main", MESSAGE, "webpush", None, None, "clicked", at)
        facts.append(recorded(position, outcome(3, at) if rng.random() < 0.5 else click, at))
    return facts


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("hours", [(0, 24), (1, 3), (3, 3)])
async def test_sums_of_blocks_say_what_their_rows_say(is_whole: bool, hours: tuple[int, int]) -> None:
    """Whatever hours are asked for, also when a block could not be summed; finished blocks' rows are not read."""
    facts = clicks_over(5)
    span = [SPAN[0] + timedelta(hours=hour) for hour in hours]
    plain, models = projected((Statistics(),), facts), summed(facts, is_whole=is_whole)
    expected = await hours_of(plain, "main", MESSAGE, span[0], span[1])
    assert await hours_of(models, "main", MESSAGE, span[0], span[1]) == expected
    assert bool(await models.range(UNSUMMED, ("", DELIVERY))) is not is_whole
    in_open_block = sum(1 for fact in facts if fact.position >= 4 * BLOCK)
    in_first_block = sum(1 for fact in facts if fact.position < BLOCK)
    assert models.rows_read <= in_open_block + (0 if is_whole else in_first_block)


async def test_sums_that_are_not_those_of_their_rows_are_found() -> None:
    """A rebuild with such a block is not offered."""
    facts, statistics = clicks_over(3), Statistics()
    models = summed(facts)
    generation = models.generation("statistics")
    checkpoint = Checkpoint(DELIVERY, facts[-1].position, "epoch-1")
    await generation.apply([], [checkpoint])
    assert await statistics.check(generation) == []
    row = (await models.range(BLOCKS, ("main", MESSAGE)))[0]
    key = ("main", MESSAGE, row["block"], row["hour"])
    models.apply([Put(BLOCKS, key, {"clicks": row["clicks"] + 1}, 10 * BLOCK)])
    assert await statistics.check(generation) == ["the sums of blocks are not those of their rows"]


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        ("0001-01-01T00:30:00+05:00", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:30:00-05:00", "9999-12-31T23:00:00+00:00"),
    ],
)
async def test_a_report_from_before_or_after_all_time_is_counted(at: str, hour: str) -> None:
    """It holds up nothing behind it: it is in the first or in the last hour that there is."""
    told = Receipt("main", MESSAGE, "webpush", None, None, "clicked", datetime.fromisoformat(at))
    models = projected((Statistics(),), [recorded(1, told, SPAN[0])])
    found = await hours_of(models, "main", MESSAGE, FIRST, LAST)
    assert [(each.isoformat(), counts["clicks"]) for each, counts in found.items()] == [(hour, 1)]
