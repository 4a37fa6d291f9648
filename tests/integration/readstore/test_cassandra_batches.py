"""What is written together is small enough for Cassandra to say nothing of it: a warning costs more than its batch."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from infra.readstore.cassandra import session as cassandra_session
from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from projections.port import Put, Table

pytestmark = pytest.mark.cassandra

COLUMNS = [f"words_{number}" for number in range(16)]
TABLE = Table(
    projection="batches",
    name="batches_rows",
    partition={"realm": "text", "number": "bigint"},
    clustering={"place": "text"},
    columns=dict.fromkeys(COLUMNS, "text"),
)


@pytest.mark.parametrize("columns", [1, 8, 16])
@pytest.mark.parametrize("chars", [0, 10, 100, 1_000])
async def test_no_batch_is_warned_of(
    cassandra: CassandraConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, columns: int, chars: int
) -> None:
    """Rows of hundreds of partitions, narrow or wide, with much in them or little."""
    values = dict.fromkeys(COLUMNS[:columns], "x" * chars)
    # Some partitions have two rows.
    puts = [Put(TABLE, ("main", number * 2 // 3, f"{number}"), values, number + 1) for number in range(150)]
    async with read_store(tmp_path, cassandra) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        with caplog.at_level(logging.WARNING):
            await generation.apply(puts, [])
            read = [row async for page in generation.scan(TABLE) for row in page]
        await store.drop(TABLE.projection, number)
    assert len(read) == len(puts)
    assert [record.getMessage() for record in caplog.records if "warning" in record.getMessage()] == []


async def test_rows_of_any_shape_are_stored_with_few_statements_kept(
    cassandra: CassandraConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are no longer kept are prepared again."""
    monkeypatch.setattr(cassandra_session, "PREPARED_MAX", 3)
    kinds = [dict.fromkeys(COLUMNS[:columns], "x") for columns in range(1, 8)]
    async with read_store(tmp_path, cassandra) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        for position in (1, 2):
            puts = [Put(TABLE, ("main", place, ""), kind, position) for place, kind in enumerate(kinds)]
            await generation.apply(puts, [])
        read = [row async for page in generation.scan(TABLE) for row in page]
        await store.drop(TABLE.projection, number)
    said = {row["number"]: sum(row[name] is not None for name in COLUMNS) for row in read}
    assert said == {place: len(kind) for place, kind in enumerate(kinds)}
