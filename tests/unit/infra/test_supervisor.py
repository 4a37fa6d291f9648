"""Supervision: a role that fails comes back, one that cannot go on halts alone, and all drain when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infra.supervisor import Role, State, Stop, Supervisor
from processes.port import LogMismatch

PATIENCE_S = 5.0


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def _idle(stop: Stop) -> None:
    await stop.wait()


async def test_a_role_that_fails_is_started_again() -> None:
    """Two failures later it runs, and its status counts them."""
    stop, lives = Stop(), 0

    async def flaky(stop: Stop) -> None:
        nonlocal lives
        lives += 1
        if lives < 3:
            raise RuntimeError("no luck")
        await stop.wait()

    supervisor = Supervisor([Role("flaky", flaky), Role("idle", _idle)])
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        await _until(lambda: lives == 3)
        assert supervisor.statuses["flaky"].restarts == 2
        assert supervisor.statuses["idle"].restarts == 0
        stop.set()
    assert {status.state for status in supervisor.statuses.values()} == {State.STOPPED}


async def test_a_log_that_is_not_ours_halts_its_role_alone() -> None:
    """LogMismatch is not retried: the role halts with the reason, the others go on."""
    stop = Stop()

    async def fail() -> None:
        raise LogMismatch("another epoch")

    async def mistaken(stop: Stop) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    supervisor = Supervisor([Role("mistaken", mistaken), Role("idle", _idle)])
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        await _until(lambda: supervisor.statuses["mistaken"].state is State.HALTED)
        assert supervisor.statuses["mistaken"].reason == "another epoch"
        assert supervisor.statuses["idle"].state is State.RUNNING
        stop.set()
    assert supervisor.statuses["mistaken"].state is State.HALTED


async def test_a_role_finishes_what_it_has_in_hand() -> None:
    """After the stop a role ends by itself; nothing cancels it within its time."""
    stop, finished = Stop(), False

    async def slice_by_slice(stop: Stop) -> None:
        nonlocal finished
        await stop.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        finished = True

    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor([Role("gateway", slice_by_slice)])
        group.create_task(supervisor.run(stop))
        await _until(lambda: supervisor.statuses["gateway"].state is State.RUNNING)
        stop.set()
    assert finished


async def test_a_role_that_does_not_end_is_cancelled() -> None:
    """Past its time to drain a role is cut short, so that the process ends."""
    stop = Stop()

    async def deaf(stop: Stop) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        supervisor = Supervisor([Role("deaf", deaf, drain_s=0.01)])
        group.create_task(supervisor.run(stop))
        await _until(lambda: supervisor.statuses["deaf"].state is State.RUNNING)
        stop.set()


async def test_an_end_without_a_stop_is_a_failure() -> None:
    """A role that returns by itself is started again: it has no reason to end."""
    stop, lives = Stop(), 0

    async def short(stop: Stop) -> None:
        nonlocal lives
        lives += 1
        if lives == 2:
            await stop.wait()

    supervisor = Supervisor([Role("short", short)])
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        await _until(lambda: lives == 2)
        assert supervisor.statuses["short"].restarts == 1
        stop.set()
