"""A reader's wait: woken, or until the beat."""

from __future__ import annotations

import asyncio

from infra.log.waking import Waker


async def test_a_wait_ends_when_it_is_woken() -> None:
    """Long before the beat, however often it is woken."""
    waker = Waker(60.0)
    async with asyncio.timeout(5):
        for _ in range(3):
            waiting = asyncio.ensure_future(waker.wait())
            await asyncio.sleep(0)
            waker.wake()
            waker.wake()
            await waiting
    waker.close()


async def test_a_wait_that_nobody_ends_ends_with_the_beat() -> None:
    """Each of them, so that whoever waits looks again whether anybody still answers."""
    waker = Waker(0.01)
    async with asyncio.timeout(5):
        for _ in range(3):
            await waker.wait()
    waker.close()


async def test_what_woke_nobody_is_not_kept() -> None:
    """Nor does a wait that was given up keep the next one from being woken."""
    waker = Waker(60.0)
    waker.wake()
    given_up = asyncio.ensure_future(waker.wait())
    await asyncio.wait([given_up], timeout=0.01)
    assert not given_up.done()
    given_up.cancel()
    await asyncio.wait([given_up])
    waiting = asyncio.ensure_future(waker.wait())
    await asyncio.sleep(0)
    waker.wake()
    async with asyncio.timeout(5):
        await waiting
    waker.close()
