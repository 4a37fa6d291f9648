"""Working on one item while the next is on its way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from processes.ahead import ahead


class Source:
    """Numbers; fetched: how many were asked for. is_closed: whether it has been told that it is over."""

    def __init__(self, count: int) -> None:
        self.count, self.fetched, self.is_closed = count, 0, False

    async def numbers(self) -> AsyncGenerator[int]:
        try:
            while self.fetched < self.count:
                self.fetched += 1
                await asyncio.sleep(0)
                yield self.fetched
        finally:
            self.is_closed = True


def always(_: int) -> bool:
    return True


def never(_: int) -> bool:
    return False


async def test_all_items_come_in_order() -> None:
    """Whether or not they are fetched ahead."""
    for more in (always, never):
        source = Source(5)
        assert [number async for number in ahead(source.numbers(), more)] == [
            1,
            2,
            3,
            4,
            5,
        ]
        assert source.is_closed


async def test_the_next_one_is_fetched_where_more_are_known_to_come() -> None:
    """While the caller has this one in hand; else only when it asks."""
    source = Source(9)
    async with contextlib.aclosing(ahead(source.numbers(), lambda number: number < 3)) as numbers:
        async for number in numbers:
            for _ in range(3):
                await asyncio.sleep(0)
            assert source.fetched == (number + 1 if number < 3 else number)


async def test_who_leaves_early_closes_the_source() -> None:
    """At once, also when an item is on its way."""
    for more in (always, never):
        source = Source(5)
        async with contextlib.aclosing(ahead(source.numbers(), more)) as numbers:
            assert await anext(numbers) == 1
        assert source.is_closed
