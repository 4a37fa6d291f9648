"""Lines of callers of one network address: in order, bounded, and gone when nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from api.emarsys.lines import Lines
from domain.errors import Unavailable


async def test_turns_of_an_address_come_one_after_the_other_and_addresses_do_not_wait_for_each_other() -> (
    None
):
    """In the order of their coming."""
    lines, told, go_on = Lines(), list[str](), asyncio.Event()

    async def caller(address: str, name: str) -> None:
        async with lines.turn(address):
            told.append(name)
            await go_on.wait()

    async with asyncio.TaskGroup() as group:
        for address, name in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")):
            group.create_task(caller(address, name))
        while len(told) < 2:
            await asyncio.sleep(0)
        assert told == ["a1", "b1"]
        assert len(lines) == 2
        go_on.set()
    assert told == ["a1", "b1", "a2", "a3"]
    assert len(lines) == 0


async def test_nobody_waits_for_ever_nor_with_ever_more_others() -> None:
    """A turn that does not come in time, or would come too late, is Unavailable; and nothing is left of it."""
    lines = Lines(wait_s_max=0.0, waiting_max=2)
    async with lines.turn("a"):
        with pytest.raises(Unavailable):
            async with lines.turn("a"):
                pytest.fail("two at a time")
        async with lines.turn("b"):
            with pytest.raises(Unavailable):
                async with lines.turn("c"):
                    pytest.fail("three in all")
    assert len(lines) == 0


async def test_a_turn_that_fails_ends() -> None:
    """The next one comes."""
    lines = Lines()
    with pytest.raises(ValueError, match="broken"):
        async with lines.turn("a"):
            raise ValueError("broken")
    async with lines.turn("a"):
        assert len(lines) == 1
