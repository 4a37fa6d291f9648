"""Walking buckets a page at a time: every row once, in order, whatever the page size."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import projections.paging
from projections.paging import pages_with, walk, walk_kept
from projections.port import Put, Table
from tests.memory.ports.read_models import MemoryReadModels

TABLE = Table(
    projection="test",
    name="rows",
    partition={"realm": "text", "bucket": "bigint"},
    clustering={"id": "uuid", "number": "bigint"},
    columns={"value": "text"},
)
BUCKETS = 40
keys = st.tuples(st.integers(0, BUCKETS - 1), st.integers(0, 5).map(lambda n: UUID(int=n)), st.integers(0, 2))


def filled(rows: set[tuple[int, UUID, int]]) -> MemoryReadModels:
    models = MemoryReadModels()
    models.apply([Put(TABLE, ("main", *key), {"value": "x"}, 1) for key in rows])
    return models


PARTITIONS = [("main", bucket) for bucket in range(BUCKETS)]


@given(st.sets(keys, max_size=30), st.integers(1, 8))
async def test_every_row_comes_once_and_in_order(rows: set[tuple[int, UUID, int]], limit: int) -> None:
    """Pages are full but for the last, and end with a cursor that leads on."""
    models, found, cursor = filled(rows), [], None
    while True:
        page, cursor = await walk(models, TABLE, PARTITIONS, cursor=cursor, limit=limit)
        found += [(row["bucket"], row["id"], row["number"]) for row in page]
        if cursor is None:
            break
        assert len(page) == limit
    assert found == sorted(rows)


@given(st.sets(st.integers(0, 30)), st.integers(1, 8), st.integers(1, 8))
async def test_a_first_page_of_its_own_length_is_followed_by_the_rest(
    numbers: set[int], limit: int, chunk: int
) -> None:
    """Every row once and in order, and nothing is read after a first page that is not full."""
    models = filled({(0, UUID(int=1), number) for number in numbers})
    first = await models.range(TABLE, ("main", 0), limit=limit)
    read = [rows async for rows in pages_with(models, TABLE, ("main", 0), first, limit=limit, chunk=chunk)]
    assert [row["number"] for rows in read for row in rows] == sorted(numbers)
    assert read[0] == first
    assert len(read) == 1 or len(first) == limit


@given(st.sets(keys, max_size=30), st.integers(1, 8), st.integers(0, 6))
async def test_pages_of_what_is_kept_are_full(
    rows: set[tuple[int, UUID, int]], limit: int, most: int
) -> None:
    """But for the last; and that one is not empty, unless nothing is kept."""
    models, found, cursor, pages = filled(rows), [], None, 0
    kept = sorted(row for row in rows if row[1].int < most)
    while True:
        page, cursor = await walk_kept(
            models,
            TABLE,
            PARTITIONS,
            keep=lambda row: row["id"].int < most,
            cursor=cursor,
            limit=limit,
        )
        found += [(row["bucket"], row["id"], row["number"]) for row in page]
        pages += 1
        if cursor is None:
            break
        assert len(page) == limit
    assert found == kept
    assert pages == max(1, -(-len(kept) // limit))


async def test_a_page_looks_at_so_many_rows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hardly any is kept, pages come with what was found so far, and lead on."""
    monkeypatch.setattr(projections.paging, "LOOKED_MAX", 10)
    rows = {(bucket, UUID(int=1), 1) for bucket in range(35)}
    models, found, cursor, pages = filled(rows), [], None, 0
    while pages == 0 or cursor:
        page, cursor = await walk_kept(
            models, TABLE, PARTITIONS, keep=lambda row: row["bucket"] == 34, cursor=cursor, limit=5
        )
        found += [row["bucket"] for row in page]
        pages += 1
    assert (found, pages) == ([34], 4)


@given(st.sets(keys, min_size=1, max_size=20), st.sets(keys, max_size=20), st.integers(1, 4))
async def test_rows_that_come_meanwhile_disturb_no_walk(
    rows: set[tuple[int, UUID, int]], later: set[tuple[int, UUID, int]], limit: int
) -> None:
    """What was there at the start comes exactly once; what was added, at most once."""
    models, found, cursor = filled(rows), [], None
    while True:
        page, cursor = await walk(models, TABLE, PARTITIONS, cursor=cursor, limit=limit)
        found += [(row["bucket"], row["id"], row["number"]) for row in page]
        models.apply([Put(TABLE, ("main", *later.pop()), {"value": "y"}, 2)] if later else [])
        if cursor is None:
            break
    assert len(found) == len(set(found))
    assert rows <= set(found)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "{}",
        "[]",
        "[0]",
        '["0", "a", 1]',
        '[0, "no-uuid", 1]',
        "[0, 1, 1]",
        f'[-1, "{UUID(int=1)}", 1]',
    ],
)
async def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """ValueError, whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        await walk(MemoryReadModels(), TABLE, PARTITIONS, cursor=cursor, limit=10)
