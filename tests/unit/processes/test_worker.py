"""The frame of all workers: what a handler's end means for its fact, and how much is under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from commands.port import VersionConflict
from domain.deliveries.delivery import Receipt
from domain.errors import Conflict, Invalid, OutcomeUnknown, Unavailable
from domain.recorded import DELIVERY
from processes.port import Append, Task
from processes.sending.receipts import Receipts
from processes.worker import DELIVERIES_MAX, InHand, Post, TakenOver, work
from tests.memory.clock import START
from tests.memory.site import eventually
from tests.memory.world import IDS, REALM, World

POST = Post(DELIVERY, "tester", ("receipt.>",), in_flight=3)
MESSAGE = IDS.message(REALM, "m")


async def receipts(made: World, count: int = 1) -> None:
    for _ in range(count):
        receipt = Receipt(REALM, MESSAGE, "apns", None, None, "read", START)
        await made.own.log.append(Append(f"receipt.apns.{MESSAGE.hex}", receipt))


@asynccontextmanager
async def working(made: World, handler: Callable[[Task], object], post: Post = POST) -> AsyncIterator[None]:
    async def handle(task: Task) -> None:
        found = handler(task)
        if asyncio.iscoroutine(found):
            await found

    task = asyncio.create_task(work(made.own.log, post, handle))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def failing(*errors: Exception) -> tuple[list[int], Callable[[Task], None]]:
    """A handler that fails so often, and the list of deliveries it has seen."""
    seen: list[int] = []
    waiting = list(errors)

    def handle(task: Task) -> None:
        seen.append(task.deliveries)
        if waiting:
            raise waiting.pop(0)

    return seen, handle


@pytest.mark.parametrize(
    "error", [Unavailable("away"), OutcomeUnknown("who knows"), TimeoutError(), VersionConflict("lost")]
)
async def test_what_is_temporary_comes_back(error: Exception) -> None:
    """After a delay, until it succeeds."""
    made = World()
    await receipts(made)
    seen, handle = failing(error, error)
    async with working(made, handle):
        await made.quiet()
        assert seen == [1]
        await made.rest()
    assert seen == [1, 2, 3]
    assert made.streams.aside == {}


@pytest.mark.parametrize(
    "error", [ValueError("poison"), Conflict("no"), Invalid("no"), KeyError("bug"), AssertionError("bug")]
)
async def test_what_will_never_succeed_is_put_aside(error: Exception) -> None:
    """With reason, subject, position and body; the others go on."""
    made = World()
    await receipts(made, 2)
    seen, handle = failing(error)
    async with working(made, handle):
        await made.rest()
    assert seen == [1, 1]
    [aside] = made.streams.aside.values()
    assert (aside.source, aside.subject, aside.position) == ("tester", f"receipt.apns.{MESSAGE.hex}", 1)
    assert str(error) in aside.reason
    assert aside.body == made.streams.messages[DELIVERY][0].data


async def test_an_outage_of_hours_puts_nothing_aside() -> None:
    """What we depend on is away for long: the fact waits, as often as it takes, with bounded delays."""
    made = World()
    await receipts(made)
    seen, handle = failing(*[Unavailable("away")] * (3 * DELIVERIES_MAX))
    async with working(made, handle):
        await made.rest()
    assert len(seen) == 3 * DELIVERIES_MAX + 1
    assert made.streams.aside == {}


async def test_who_loses_every_race_is_put_aside() -> None:
    """A conflict that does not go away is not a race."""
    made = World()
    await receipts(made)
    seen, handle = failing(*[VersionConflict("lost")] * (2 * DELIVERIES_MAX))
    async with working(made, handle):
        await made.rest()
    assert len(seen) == DELIVERIES_MAX
    assert len(made.streams.aside) == 1


async def test_a_fact_that_was_taken_over_is_neither_done_nor_hurried() -> None:
    """It comes back only if whoever took it dies."""
    made = World()
    await receipts(made)
    seen, handle = failing(TakenOver())
    async with working(made, handle):
        await made.quiet()
        assert seen == [1]
        made.clock.advance(POST.ack_wait_s - 0.1)
        await made.quiet()
        assert seen == [1]
        await made.rest()
    assert seen == [1, 2]


async def test_no_more_is_under_way_than_said() -> None:
    """Three at once, not four; the next begins when one is done."""
    made = World()
    await receipts(made, 8)
    gate, under_way, most = asyncio.Semaphore(0), 0, 0

    async def handle(task: Task) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.acquire()
        under_way -= 1

    async with working(made, handle):
        await made.quiet()
        assert under_way == 3
        for _ in range(8):
            gate.release()
        await made.rest()
    assert most == 3


async def test_long_work_says_that_it_goes_on() -> None:
    """A handler that takes longer than the wait keeps its fact."""
    made = World()
    await receipts(made)
    seen: list[int] = []
    done = asyncio.Event()

    async def handle(task: Task) -> None:
        seen.append(task.deliveries)
        await done.wait()

    made.own.log.keeps = False
    post = Post(DELIVERY, "tester", ("receipt.>",), ack_wait_s=0.06)
    async with working(made, handle, post):
        await made.quiet()
        again_at = made.streams.durables["tester"].pending[1].again_at
        made.clock.advance(0.05)
        async with asyncio.timeout(5):
            while made.streams.durables["tester"].pending[1].again_at == again_at:
                await asyncio.sleep(0.005)
        made.clock.advance(0.05)
        await made.quiet()
        assert seen == [1]
        done.set()
        await made.rest()
    assert seen == [1]


class Slow:
    """A task whose word that it goes on takes until it is let through."""

    def __init__(self) -> None:
        self.asked, self.through = 0, asyncio.Event()

    async def extend(self) -> None:
        self.asked += 1
        await self.through.wait()


async def test_a_fact_that_is_dealt_with_is_not_said_to_go_on() -> None:
    """The log would take back when it is to come again, if that is said after it was given back."""
    first, second, third = Slow(), Slow(), Slow()
    in_hand = InHand(Post(DELIVERY, "tester", ("receipt.>",), ack_wait_s=0.06))
    keeping = asyncio.create_task(in_hand.keep())
    for task in (first, second, third):
        await in_hand.take(task)  # type: ignore[arg-type]
    await eventually(lambda: first.asked + second.asked + third.asked)
    [slow] = [task for task in (first, second, third) if task.asked]
    [done, other] = [task for task in (first, second, third) if task is not slow]
    in_hand.put_down(done)  # type: ignore[arg-type]
    slow.through.set()
    await eventually(lambda: other.asked)
    other.through.set()
    await eventually(lambda: slow.asked > 1)
    keeping.cancel()
    assert done.asked == 0


class Mute:
    """A log of one task, of which nothing can be said, for a reason that nobody has thought of."""

    async def work(self, *_: object, **__: object) -> AsyncIterator[Mute]:
        yield self
        await asyncio.Event().wait()

    async def extend(self) -> None:
        raise AssertionError("nobody expects this")


async def test_who_cannot_say_any_more_that_work_goes_on_ends_it_loudly() -> None:
    """Else every fact that takes its time would come again and again, and nobody would know why."""

    async def handle(_: Task) -> None:
        await asyncio.Event().wait()

    post = Post(DELIVERY, "tester", ("receipt.>",), ack_wait_s=0.06)
    with pytest.RaisesGroup(AssertionError):
        async with asyncio.timeout(5):
            await work(Mute(), post, handle)  # type: ignore[arg-type]


async def test_a_log_that_is_away_while_something_fails_stops_nobody() -> None:
    """Not even the failure can be recorded: the fact comes back by itself."""
    made = World()
    await receipts(made)
    seen: list[int] = []

    def handle(task: Task) -> None:
        seen.append(task.deliveries)
        if task.deliveries == 1:
            made.own.log.down = True
            raise ValueError("poison")

    async with working(made, handle):
        await made.quiet()
        made.own.log.down = False
        await made.rest()
    assert seen == [1, 2]
    assert made.streams.aside == {}


class AnotherLog(Unavailable):
    """As the log's guard raises it."""

    retryable = False


async def test_another_log_stops_the_process() -> None:
    """Nothing may be written to a log that is not ours: the process ends and says so."""
    made = World()
    await receipts(made)
    _, handle = failing(AnotherLog("not ours"))

    async def handler(task: Task) -> None:
        handle(task)

    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as stopped:
            await work(made.own.log, POST, handler)
    assert stopped.group_contains(AnotherLog)
    assert made.streams.aside == {}


async def test_a_receipt_is_a_record() -> None:
    """With the time it came; repeated, it is another one."""
    made = World()
    door = Receipts(log=made.own.log, clock=made.clock)
    known = {"realm": REALM, "message": MESSAGE, "channel": "apns", "contact": None, "client": None}
    positions = [await door.record(**known, kind="read", detail="x", correlation="c") for _ in range(2)]  # type: ignore[arg-type]
    assert positions == [1, 2]
    [first, _] = made.facts(DELIVERY)
    assert first.correlation == "c"
    assert first.body == Receipt(REALM, MESSAGE, "apns", None, None, "read", made.clock.now, "x")
