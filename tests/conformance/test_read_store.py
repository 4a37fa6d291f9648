"""What every read store promises, example by example: rows, pages, refusals."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from infra.readstore.shape import ROWS_MAX
from infra.readstore.store import ReadStore
from projections import port
from projections.port import Delete, Put, PutMany, Table, Write
from tests.conformance.read_store_openings import NAMES, begun, counts, filled, live
from tests.conformance.read_store_tables import START

# Rows


async def test_a_row_has_all_its_columns(store: ReadStore, table: Table) -> None:
    """A read brings key and value columns; what was never put or was cleared is None."""
    generation = await live(store, table)
    key = ("main", "monday", 1)
    await generation.apply([Put(table, key, {"words": "hello", "settings": {"b": [1]}}, 3)], [])
    await generation.apply([Put(table, key, {"words": None}, 4)], [])
    expected = {"realm": "main", "day": "monday", "number": 1, "words": None, "count": None}
    assert await store.get(table, key) == {**expected, "settings": {"b": [1]}}
    assert await store.get(table, ("main", "monday", 2)) is None


async def test_times_are_kept_to_the_millisecond(store: ReadStore) -> None:
    """A time with a zone comes back in UTC, rounded down to milliseconds; one without a zone is refused."""
    number = next(NAMES)
    table = Table(
        projection=f"projection{number}",
        name=f"table{number}",
        partition={"realm": "text"},
        columns={"at": "timestamp"},
    )
    generation = await live(store, table)
    await generation.apply([Put(table, ("main",), {"at": START.replace(microsecond=1999)}, 1)], [])
    row = await store.get(table, ("main",))
    assert row == {"realm": "main", "at": START.replace(microsecond=1000)}
    with pytest.raises(ValueError, match="timestamp"):
        await generation.apply([Put(table, ("main",), {"at": START.replace(tzinfo=None)}, 2)], [])


async def test_get_many_answers_each_key_in_order(store: ReadStore, table: Table) -> None:
    """A key asked twice is answered twice, a missing one by None, over partitions and beyond a request's size."""
    generation = await live(store, table)
    keys = await filled(generation, table, 250)
    await generation.apply([Put(table, ("other", "day", 1), {"count": 7}, 1)], [])
    asked = [("main", *key) for key in reversed(keys)]
    asked += [("other", "day", 1), ("other", "day", 2), ("main", *keys[0])]
    rows = await store.get_many(table, asked)
    assert [row and row["count"] for row in rows] == [*reversed(range(250)), 7, None, 0]
    assert await store.get_many(table, []) == []


async def test_any_text_is_kept(store: ReadStore, table: Table) -> None:
    """Text of any script and length, empty or with a NUL inside; half a surrogate pair becomes a question mark."""
    generation = await live(store, table)
    texts = ["", "a\0b", "日本語 \U0001f600", "x" * 200_000, "half \ud83d"]
    puts = [Put(table, ("main", "d", n), {"words": text}, n) for n, text in enumerate(texts, 1)]
    await generation.apply(puts, [])
    rows = await store.range(table, ("main",))
    assert [row["words"] for row in rows] == [*texts[:-1], "half ?"]


async def test_a_long_page_is_stored_whole(store: ReadStore, table: Table) -> None:
    """Thousands of writes over many partitions, puts and deletes mixed, are all there after one apply."""
    generation = await live(store, table)
    puts = [
        Put(table, (f"realm {n % 300}", "d", n), {"words": "w" * 100, "count": n}, n + 1) for n in range(3000)
    ]
    gone = [Delete(table, put.key, put.position + 1) for put in puts[::3]]
    await generation.apply([*gone, *puts], [])
    assert (await generation.digest(table))[0] == 2000
    rows = await store.range_many(table, [(f"realm {n}",) for n in range(300)])
    assert sum(len(each) for each in rows.values()) == 2000


# Ranges


async def test_pages_follow_one_another(store: ReadStore, table: Table) -> None:
    """Reading on after the last key of a page brings every row once, forwards and backwards."""
    generation = await live(store, table)
    await filled(generation, table, 25)
    for backwards in (False, True):
        found: list[int] = []
        after = None
        while rows := await store.range(table, ("main",), after=after, limit=7, backwards=backwards):
            found += counts(rows)
            after = (rows[-1]["day"], rows[-1]["number"])
        assert found == sorted(range(25), reverse=backwards)


async def test_a_prefix_bounds_a_range(store: ReadStore, table: Table) -> None:
    """After a prefix means after all rows that begin with it; before it, before them all."""
    generation = await live(store, table)
    await filled(generation, table, 12)
    between = await store.range(table, ("main",), after=("day 000",), before=("day 003",))
    assert counts(between) == [3, 4, 5, 6, 7, 8]
    mixed = await store.range(table, ("main",), after=("day 000", 1), before=("day 001",))
    assert counts(mixed) == [2]
    back = await store.range(table, ("main",), after=("day 002",), before=("day 000",), backwards=True)
    assert counts(back) == [5, 4, 3]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_many_partitions_are_read_as_each_alone(
    store: ReadStore, table: Table, newest_first: bool
) -> None:
    """Small, empty and large ones, asked twice or once: each brings its first rows, in its order."""
    table = msgspec.structs.replace(table, newest_first=newest_first)
    generation = await live(store, table)
    sizes = {f"realm {n}": (0, 1, 3, 2, 30)[n % 5] if n < 60 else n % 3 for n in range(130)}
    puts = [
        Put(table, (realm, f"d{n % 2}", n), {"count": n}, n + 1)
        for realm, size in sizes.items()
        for n in range(size)
    ]
    await generation.apply(puts, [])
    asked = [(realm,) for realm in (*sizes, "realm 7", "nowhere")]
    for limit in (1, 2, 7, 100):
        found = await store.range_many(table, asked, limit_each=limit)
        assert found == {one: await store.range(table, one, limit=limit) for one in asked}
    small, large = [one for one in asked if sizes.get(one[0], 0) < 4], [("realm 4",), ("realm 9",)]
    for some in (small[:20], [*small[:10], *large], [*large, ("realm 14",), ("realm 19",), *small[:10]]):
        found = await store.range_many(table, some)
        assert found == {one: await store.range(table, one) for one in some}


async def test_a_part_of_a_table_is_read_alone(store: ReadStore, table: Table) -> None:
    """Reading fewer columns of a table brings those beside the key, and changes nothing for who reads them all."""
    generation = await live(store, table)
    await filled(generation, table, 3)
    less = msgspec.structs.replace(table, columns={"count": "bigint"})
    for _ in range(2):
        assert {tuple(row) for row in await store.range(less, ("main",))} == {
            ("realm", "day", "number", "count")
        }
        assert all("words" in row for row in await store.range(table, ("main",)))


async def test_partitions_of_a_wrong_kind_are_refused(store: ReadStore, table: Table) -> None:
    """A key that is too long or holds nothing is the caller's mistake, among others too."""
    await live(store, table)
    for wrong in (("main", "d0"), (None,)):
        with pytest.raises(ValueError, match="part"):
            await store.range_many(table, [("main",), wrong])


async def test_newest_first_is_the_order_of_reading(store: ReadStore, table: Table) -> None:
    """A table that is newest first is read from its greatest key; after and before follow the reading."""
    newest = msgspec.structs.replace(table, newest_first=True)
    generation = await live(store, newest)
    await filled(generation, newest, 9)
    assert counts(await store.range(newest, ("main",), limit=4)) == [8, 7, 6, 5]
    assert counts(await store.range(newest, ("main",), after=("day 001",))) == [2, 1, 0]
    assert counts(await store.range(newest, ("main",), before=("day 001",))) == [8, 7, 6]
    assert counts(await store.range(newest, ("main",), limit=4, backwards=True)) == [0, 1, 2, 3]


async def test_a_read_is_bounded(store: ReadStore, table: Table) -> None:
    """Nobody reads without a limit, or with a bound that is no clustering key."""
    await live(store, table)
    for limit in (0, ROWS_MAX + 1):
        with pytest.raises(ValueError, match="rows"):
            await store.range(table, ("main",), limit=limit)
    with pytest.raises(ValueError, match="clustering"):
        await store.range(table, ("main",), after=("day", 1, 2))


# Refusals: nothing of the page is stored


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"words": 1}, "text"),
        ({"count": 2**63}, "bigint"),
        ({"count": "1"}, "bigint"),
        ({"settings": object()}, "json"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_no_store_can_hold_is_refused(
    store: ReadStore, table: Table, change: dict[str, Any], said: str
) -> None:
    """A value of the wrong type or an unknown column is a ValueError, and the whole page is left out."""
    generation = await live(store, table)
    good = Put(table, ("main", "d", 1), {"words": "good"}, 1)
    with pytest.raises(ValueError, match=said):
        await generation.apply([good, Put(table, ("main", "d", 2), change, 2)], [])
    assert (await generation.digest(table))[0] == 0


async def test_a_key_is_whole(store: ReadStore, table: Table) -> None:
    """A key with a part too few or without a value is refused."""
    generation = await live(store, table)
    for key in (("main", "d"), ("main", "d", None)):
        with pytest.raises(ValueError, match="key"):
            await generation.apply([Put(table, key, {"count": 1}, 1)], [])


async def test_many_rows_in_one_write_have_a_value_each(store: ReadStore, table: Table) -> None:
    """A row without its own value, and a column that is not there, are refused; no rows are none."""
    generation = await live(store, table)
    same = {"realm": "main", "day": "d", "words": "w"}
    for own in ({"count": [1]}, {"count": [1, 2, 3]}, {"missing": [1, 2]}):
        with pytest.raises(ValueError, match=r"shorter|longer|no column"):
            await generation.apply([PutMany(table, same, {"number": [1, 2], **own}, 1)], [])
    keyless: tuple[dict[str, list[int | None]], ...] = ({"number": [1, None]}, {"count": [1, 2]})
    for rows in keyless:
        with pytest.raises(ValueError, match="key"):
            await generation.apply([PutMany(table, same, rows, 1)], [])
    await generation.apply([PutMany(table, same, {"number": []}, 1)], [])
    assert await store.range(table, ("main",)) == []


async def test_hundreds_of_rows_in_one_write_are_rows_as_any(store: ReadStore, table: Table) -> None:
    """What they share is theirs as much as what each has of its own; of two values the newer one stays."""
    together, singly = await live(store, table), await begun(store, table)
    own = {"number": range(300), "count": [n % 7 or None for n in range(300)]}
    key = {"realm": "main", "day": "d"}
    pages: list[list[Write]] = [
        [Put(table, ("main", "d", n), {"words": "newer"}, 9) for n in range(0, 300, 10)],
        [PutMany(table, {**key, "words": "w"}, own, 5), PutMany(table, key, {"number": range(200, 400)}, 6)],
        [PutMany(table, {**key, "words": "older", "count": 8}, {"number": range(250)}, 4)],
        [Delete(table, ("main", "d", n), 5) for n in range(3)],
    ]
    for page in pages:
        await together.apply(page, [])
        for write in port.singly(page):
            await singly.apply([write], [])
    rows = await store.range(table, ("main",), limit=500)
    assert [row["words"] for row in rows[:9]] == ["newer", *["w"] * 7, "newer"]
    assert await together.digest(table) == await singly.digest(table)
    assert (await together.digest(table))[0] == 398


async def test_one_fact_gives_a_cell_one_value(store: ReadStore, table: Table) -> None:
    """Two values for a cell at one position are refused: the stores would not agree which of them stays."""
    generation = await live(store, table)
    one, two = (Put(table, ("main", "d", 1), {"count": value}, 5) for value in (1, 2))
    with pytest.raises(ValueError, match="two values"):
        await generation.apply([one, two], [])
    same = {"realm": "main", "day": "d", "number": 1}
    with pytest.raises(ValueError, match="two values"):
        await generation.apply([PutMany(table, same, {"count": [1, 2]}, 5)], [])
    await generation.apply([one, Put(table, ("main", "d", 1), {"words": "w"}, 5), one], [])
    row = await store.get(table, ("main", "d", 1))
    assert row is not None
    assert (row["count"], row["words"]) == (1, "w")


async def test_digests_compare_two_builds(store: ReadStore, table: Table) -> None:
    """The same rows give the same digest, in whatever order they were written; one other cell gives another."""
    first, second = await live(store, table), await begun(store, table)
    puts = [Put(table, ("main", "d", n), {"count": n}, n + 1) for n in range(1500)]
    await first.apply(puts, [])
    await second.apply(puts[::-1], [])
    assert await first.digest(table) == await second.digest(table)
    assert (await first.digest(table))[0] == 1500
    scanned = [row["number"] async for page in first.scan(table) for row in page]
    assert sorted(scanned) == list(range(1500))
    await second.apply([Put(table, ("main", "d", 1), {"count": 9}, 9000)], [])
    assert await first.digest(table) != await second.digest(table)


async def test_rows_that_stand_alone_are_scanned_once_each(store: ReadStore) -> None:
    """Without a clustering key too: written in any order, again, and deleted; the digest is of what is there."""
    number = next(NAMES)
    table = Table(
        projection=f"projection{number}",
        name=f"table{number}",
        partition={"realm": "text", "number": "bigint"},
        columns={"count": "bigint", "words": "text"},
    )
    first, second = await live(store, table), await begun(store, table)
    puts = [Put(table, ("main", n), {"count": n}, n + 1) for n in range(1500)]
    more = [Put(table, ("main", n), {"words": "w" * n}, 2000 + n) for n in range(0, 1500, 7)]
    gone = [Delete(table, ("main", n), 5000) for n in range(0, 1500, 10)]
    for generation, pages in ((first, (puts, more, gone)), (second, (gone, more, puts[::-1]))):
        for page in pages:
            await generation.apply(page, [])
    assert await first.digest(table) == await second.digest(table)
    for generation in (first, second):
        scanned = [row["number"] async for page in generation.scan(table) for row in page]
        assert sorted(scanned) == [n for n in range(1500) if n % 10]


async def test_a_store_says_that_it_answers(store: ReadStore) -> None:
    """`ready` returns while the database is up."""
    await store.ready()


async def test_ids_sort_by_their_bytes(store: ReadStore) -> None:
    """Within a partition ids of any version are in the order of their hex digits."""
    number = next(NAMES)
    table = Table(
        projection=f"projection{number}",
        name=f"table{number}",
        partition={"realm": "text"},
        clustering={"id": "uuid"},
        columns={"count": "bigint"},
    )
    generation = await live(store, table)
    ids = [UUID(int=n * 0x1234_5678_9ABC_DEF0_1357_9BDF_0246_8ACE % 2**128) for n in range(40)]
    await generation.apply([Put(table, ("main", id), {"count": 1}, 1) for id in ids], [])
    assert [row["id"] for row in await store.range(table, ("main",))] == sorted(ids)
