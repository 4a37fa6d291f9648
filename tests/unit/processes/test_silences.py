"""Batches with the silences between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from processes.silences import or_silence


async def test_a_silence_is_told_once_and_nothing_is_lost() -> None:
    """What comes after it is handed on; the end is the end."""
    go_on = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        await go_on.wait()
        yield 2

    found: list[int | None] = []
    async with asyncio.timeout(5):
        async for item in or_silence(items(), after_s=0.001):
            found.append(item)
            if item is None:
                go_on.set()
    assert found == [1, None, 2]


async def test_the_next_is_asked_for_when_the_caller_is_ready() -> None:
    """Whoever hands out items knows that none is in the caller's hands when the next one is asked for."""
    asked: list[int] = []

    async def items() -> AsyncIterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    async with aclosing(or_silence(items(), after_s=1)) as found:
        async for item in found:
            assert asked == list(range((item or 0) + 1))
            await asyncio.sleep(0)
            assert len(asked) == (item or 0) + 1
