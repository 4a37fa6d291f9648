"""Counts that several API processes share over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest_asyncio

from infra.nats.server import NatsServer
from infra.nats.wire.connection import Connection, connected
from infra.nats.wire.errors import Disconnected
from infra.rates import SharedCounter
from tests.fixtures.nats import log_config

PATIENCE_S = 5.0


@pytest_asyncio.fixture
async def connections(nats_server: NatsServer) -> AsyncIterator[tuple[Connection, Connection]]:
    async with AsyncExitStack() as opened:
        endpoint = log_config(nats_server).endpoint
        first = await opened.enter_async_context(connected(endpoint))
        yield first, await opened.enter_async_context(connected(endpoint))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.05)


async def test_calls_at_another_process_count(connections: tuple[Connection, Connection]) -> None:
    """Two processes that see the same token count it together, each call once, and other tokens apart."""
    first, second = (SharedCounter(connection) for connection in connections)
    running = [asyncio.create_task(counter.run()) for counter in (first, second)]
    assert [first.add("ann", 1) for _ in range(3)] == [1, 2, 3]
    await _until(lambda: second._others.get("ann") == 3)
    assert second.add("ann", 1) == 4
    assert second.add("bob", 1) == 1
    await _until(lambda: first._others.get("ann") == 1)
    assert first.add("ann", 1) == 5
    for task in running:
        task.cancel()


async def test_a_new_window_begins_at_nothing(connections: tuple[Connection, Connection]) -> None:
    """Counts of an earlier window are forgotten, and late news of it are not taken for this one's."""
    first, second = (SharedCounter(connection) for connection in connections)
    running = [asyncio.create_task(counter.run()) for counter in (first, second)]
    first.add("ann", 1)
    assert second.add("ann", 2) == 1
    await _until(lambda: not first._changed)
    assert second.add("ann", 2) == 2
    assert first.add("ann", 2) >= 1
    for task in running:
        task.cancel()


async def test_a_clock_that_was_ahead_stops_nobody(connections: tuple[Connection, Connection]) -> None:
    """An hour ahead by mistake: neither it nor the others go on counting for that hour."""
    first, second = (SharedCounter(connection) for connection in connections)
    second.add("bob", 60)
    running = [asyncio.create_task(counter.run()) for counter in (first, second)]
    first.add("ann", 120)
    await _until(lambda: not first._changed)
    assert second.add("bob", 60) == 2
    first.add("ann", 60)
    await _until(lambda: second._others.get("ann") == 1)
    assert [first.add("ann", 61), second.add("bob", 61)] == [1, 1]
    for task in running:
        task.cancel()


async def test_without_the_others_it_counts_alone(connections: tuple[Connection, Connection]) -> None:
    """A counter that is not running (or cut off) still limits its own process."""
    counter = SharedCounter(connections[0])
    assert [counter.add("ann", 7) for _ in range(2)] == [1, 2]


async def test_a_flood_of_keys_ends_no_limit_and_stops_nobody(
    connections: tuple[Connection, Connection],
) -> None:
    """Beyond its bound a window's further keys are still counted, nearly right, in a room that does not grow; those
    counted before go on as before.
    """
    counter = SharedCounter(connections[0], keys_max=1_000)
    for number in range(1_000):
        assert counter.add(f"early-{number}", 1) == 1
    assert [counter.add("late", 1) for _ in range(50)] == list(range(1, 51))
    assert counter.add("early-7", 1) == 2
    flood = [counter.add(f"invented-{number}", 1) for number in range(50_000)]
    assert max(flood) < 20
    assert sum(flood) < 2 * len(flood)
    assert 51 <= counter.add("late", 1) < 70
    assert len(counter._own) == 1_000
    assert counter.add("invented-1", 2) == 1


class Full(Connection):
    """It has no room for what is to be told, until it breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.breaks = asyncio.Event(), asyncio.Event()

    async def tell(self, subject: str, payload: bytes = b"", *, lines: bytes = b"") -> None:
        self.waits.set()
        await self.breaks.wait()
        raise Disconnected("the log does not read what is sent to it")


async def test_what_could_not_be_told_before_its_window_ended_is_forgotten() -> None:
    """The next one's counts are told as ever."""
    full = Full()
    counter = SharedCounter(full)
    counter.add("ann", 1)
    counter.add("bob", 1)
    telling = asyncio.create_task(counter._tell())
    await full.waits.wait()
    counter.add("bob", 2)
    full.breaks.set()
    await telling
    await counter._tell()
    assert counter._changed == {"bob"}
