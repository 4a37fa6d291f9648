"""Ends and pauses of work on the log: what is in hand is finished, nothing new is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from domain.recorded import Recorded
from infra.draining import until
from infra.pausing import PAUSE_S, Gate
from processes.port import Poison

PATIENCE_S = 5.0


async def _numbers(log: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield number
        await asyncio.Event().wait()
    finally:
        log.append("closed")


async def test_items_end_at_the_stop() -> None:
    """What was handed out stays handed out, waiting ends, and the source is closed."""
    log: list[str] = []
    stop = asyncio.Event()
    taken: list[int] = []

    async def take() -> None:
        async for number in until(_numbers(log), stop):
            taken.append(number)  # noqa: PERF401  seen while it grows

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(take())
        while len(taken) < 3:
            await asyncio.sleep(0)
        stop.set()
    assert (taken, log) == ([0, 1, 2], ["closed"])


async def test_nothing_is_taken_after_the_stop() -> None:
    """A stop while an item is worked on: the item is finished, and no other follows."""
    stop = asyncio.Event()
    taken: list[int] = []
    async for number in until(_numbers([]), stop):
        taken.append(number)
        stop.set()
    assert taken == [0]


async def test_an_error_of_the_source_comes_through() -> None:
    """What ends the source ends the work in the same way."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    items = until(broken(), asyncio.Event())
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(items)


def _batch(position: int) -> Sequence[Recorded | Poison]:
    return [Poison("EVENTS", position, "evt.x", "")]


async def test_a_closed_gate_holds_batches_back() -> None:
    """Closing waits for the batch in hand; nothing passes until the gate opens."""
    gate, queue = Gate(), asyncio.Queue[int]()
    applied: list[int] = []
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[Sequence[Recorded | Poison]]:
        while True:
            yield _batch(await queue.get())

    async def apply() -> None:
        async for batch in gate.through(source()):
            await go_on.wait()
            applied.append(batch[0].position)

    task = asyncio.create_task(apply())
    queue.put_nowait(1)
    await _turns()
    closing = asyncio.create_task(gate.close())
    await _turns()
    assert not closing.done()
    go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await closing
    queue.put_nowait(2)
    await _turns()
    assert applied == [1]
    gate.open()
    await _turns()
    assert applied == [1, 2]
    task.cancel()


async def test_a_pause_lapses_by_itself() -> None:
    """Whoever asked for it may have been killed: the gate is set to open again."""
    gate = Gate()
    await gate.close()
    assert gate._lapse is not None
    assert 0 < gate._lapse.when() - asyncio.get_running_loop().time() <= PAUSE_S
    gate.open()
    assert gate._lapse is None


async def _turns() -> None:
    """Let every task that can run come to rest."""
    for _ in range(20):
        await asyncio.sleep(0)
