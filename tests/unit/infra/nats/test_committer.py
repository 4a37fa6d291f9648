"""What shares a commit, what waits for the next one, and how those who share it go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from infra.nats.appending.appends import Entry
from infra.nats.appending.committer import ANSWERS_A_TURN, SHARED_MIN, Committer, _waits

SAVES = 4 * ANSWERS_A_TURN


def test_what_expects_nothing_shares_a_commit_with_others_on_its_subject() -> None:
    """What expects a position waits until the one before it on its subject is decided, and nothing overtakes it."""
    free, strict = Entry("feed.thread.a", b"", b""), Entry("feed.thread.a", b"", b"", expect=5)
    assert not _waits([free], {"feed.thread.a"}, set())
    assert _waits([strict], {"feed.thread.a"}, set())
    assert _waits([free, strict], {"feed.thread.a"}, set())
    assert not _waits([strict], {"feed.thread.b"}, set())
    assert _waits([free], set(), {"feed.thread.a"})


async def test_callers_of_a_batch_go_on_a_few_in_each_turn_of_the_loop() -> None:
    """In the order of their saves, each with its own position, while the next batch is on its way."""
    log = Log()
    async with committing(log) as committer:
        told: list[int] = []
        tasks = [asyncio.create_task(tell(committer, told)) for _ in range(SAVES)]
        await log.asked.wait()
        tasks.append(asyncio.create_task(tell(committer, told)))
        log.answers.release()
        at_once = 0
        while len(told) < SAVES:
            before = len(told)
            await asyncio.sleep(0)
            at_once = max(at_once, len(told) - before)
            assert len(log.batches) == 2 or not told
        assert at_once == ANSWERS_A_TURN
        log.answers.release()
        await asyncio.gather(*tasks)
    assert told == list(range(2, SAVES * 2 + 3, 2))


async def test_who_is_stored_is_told_so_by_a_committer_that_ends() -> None:
    """Though it ends before their turn: that what they saved is in the log is known."""
    log = Log()
    async with committing(log) as committer:
        told: list[int] = []
        tasks = [asyncio.create_task(tell(committer, told)) for _ in range(SAVES)]
        await log.asked.wait()
        log.answers.release()
        while not committer._stored:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(told) == SAVES


@pytest.mark.parametrize(
    ("saves", "batches"), [(SHARED_MIN - 1, [1] * (SHARED_MIN - 1)), (SHARED_MIN, [SHARED_MIN])]
)
async def test_a_few_saves_of_one_event_wait_for_no_batch(saves: int, batches: list[int]) -> None:
    """Also where sharing pays, which it does for many: the price of a batch is more than theirs."""
    log = Log()
    async with committing(log) as committer:
        committer._ways.together = True
        waiting = [committer.append([Entry(f"a.{number}", b"", b"")]) for number in range(saves)]
        for _ in range(saves):
            log.answers.release()
        await asyncio.gather(*waiting)
    assert log.batches == batches


class Log:
    """Takes batches when told to; plays the appender."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Semaphore(0)
        self.batches: list[int] = []
        self._position = 0

    def assert_fits(self, entries: Sequence[Entry]) -> None: ...

    async def append(self, entries: Sequence[Entry]) -> int:
        self.batches.append(len(entries))
        self.asked.set()
        await self.answers.acquire()
        self._position += len(entries)
        return self._position


@asynccontextmanager
async def committing(log: Log) -> AsyncIterator[Committer]:
    committer = Committer(log, share_singles=True)  # type: ignore[arg-type]
    running = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def tell(committer: Committer, told: list[int]) -> None:
    """Save two events, so that they go together."""
    told.append(await committer.append([Entry(f"a.{id(object())}", b"", b"")] * 2))
