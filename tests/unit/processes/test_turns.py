"""What began earlier shows first."""

import asyncio

from processes.turns import Turn, Turns


async def test_turns_of_one_key_come_in_the_order_they_were_taken() -> None:
    """However long each takes to get ready, and though others' turns go on beside them."""
    turns, shown = Turns(), list[str]()
    ready = [asyncio.Event() for _ in range(3)]

    async def show(number: int, turn: Turn) -> None:
        await ready[number].wait()
        await turn.come()
        shown.append(f"a{number}")
        turn.end()

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(show(number, turns.take("a")))
        other = turns.take("b")
        await other.come()
        shown.append("b")
        other.end()
        for event in reversed(ready):
            event.set()
    assert shown == ["b", "a0", "a1", "a2"]


async def test_a_turn_that_is_given_up_holds_nobody() -> None:
    """A failed message lets the following ones go, and nothing stays behind."""
    turns = Turns()
    first, second = turns.take("a"), turns.take("a")
    first.end()
    await asyncio.wait_for(second.come(), 1)
    second.end()
    second.end()
    assert turns._queue == {}
