"""Ordered reading and shared work on a real server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from domain.recorded import DELIVERY, EVENTS, Checkpoint, Recorded
from domain.thread import Thread
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from processes.port import Append, Poison, Task
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import AT, CONTEXT, a_thread, an_attempt, everything

Batches = AsyncIterator[Sequence[Recorded | Poison]]


async def positions(source: Batches, count: int) -> list[int]:
    """The next `count` positions."""
    found: list[int] = []
    async with asyncio.timeout(15):
        async for batch in source:
            found += [fact.position for fact in batch]
            if len(found) >= count:
                break
    return found


async def test_a_reader_gets_everything_after_its_checkpoint_in_order(log: JetStreamLog) -> None:
    """Also what comes later; nothing before, nothing twice; batches are no larger than asked for."""
    for n in range(30):
        await log.events.save(a_thread(f"{n}"), context=CONTEXT)
    facts = await everything(log)
    assert [fact.position for fact in facts] == list(range(1, 31))
    start = Checkpoint(EVENTS, 10, await log.epoch(EVENTS), facts[9].digest)
    reading = log.follow(EVENTS, start, batch=7)
    async with asyncio.timeout(15):
        assert len(await anext(reading)) <= 7
        found = await positions(reading, 10)
        await log.events.save(a_thread("later"), context=CONTEXT)
        while found[-1] < 31:
            found += await positions(reading, 1)
    assert found == list(range(found[0], 32))


async def test_a_reader_can_choose_subjects(log: JetStreamLog) -> None:
    """And gets only those, wherever they are in the stream."""
    threads = [a_thread(f"{n}") for n in range(4)]
    for thread in threads:
        await log.events.save(thread, context=CONTEXT)
    chosen = [f"evt.thread.*.{thread.id.hex}" for thread in threads[1:3]]
    assert await positions(log.follow(EVENTS, None, subjects=chosen), 2) == [2, 3]


async def test_what_cannot_be_read_is_poison_and_the_rest_goes_on(log: JetStreamLog) -> None:
    """A message that is no event of ours does not stop a reader."""
    await log.events.save(a_thread(), context=CONTEXT)
    await log.js.connection.ask("evt.thread.00.ffff", b"not ours")
    await log.events.save(a_thread(), context=CONTEXT)
    found: list[Recorded | Poison] = []
    async with asyncio.timeout(15):
        async for batch in log.follow(EVENTS, None):
            found += batch
            if len(found) == 3:
                break
    assert isinstance(found[1], Poison)
    assert (found[1].position, found[1].subject) == (2, "evt.thread.00.ffff")
    assert "Topic" in found[1].reason


async def test_a_reader_of_many_gets_all_of_them(log: JetStreamLog) -> None:
    """More than one pull, more than one page of keys."""
    total = 3000
    saves = [log.events.save(a_thread(f"{n}"), context=CONTEXT) for n in range(total)]
    await asyncio.gather(*saves)
    assert await positions(log.follow(EVENTS, None), total) == list(range(1, total + 1))


async def test_work_is_shared_and_each_fact_is_done_once(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Three processes take from one durable: no fact is done twice, none is left."""
    total = 60
    await log.append(*(Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in range(total)))
    done: list[int] = []
    shares: list[int] = []
    finished = asyncio.Event()

    async def worker() -> None:
        async with open_log(log_config(nats_server), master_key=MASTER_KEY) as own:
            mine = 0
            async with aclosing(own.work(DELIVERY, "w", subjects=["attempt.>"], in_flight=2)) as tasks:
                async for task in until_finished(tasks, finished):
                    done.append(task.position)
                    mine += 1
                    await task.ack()
                    await asyncio.sleep(0)
                    if len(done) == total:
                        finished.set()
            shares.append(mine)

    async with asyncio.timeout(20):
        await asyncio.gather(*(worker() for _ in range(3)))
    assert sorted(done) == list(range(1, total + 1))
    assert sum(shares) == total


async def until_finished(tasks: AsyncIterator[Task], finished: asyncio.Event) -> AsyncIterator[Task]:
    """Tasks until somebody says that all are done."""
    ending = asyncio.create_task(finished.wait())
    while not finished.is_set():
        coming = asyncio.ensure_future(anext(tasks))
        await asyncio.wait([coming, ending], return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            coming.cancel()
            await asyncio.wait([coming])
            return
        yield coming.result()


async def test_no_more_is_handed_out_than_may_be_in_flight(log: JetStreamLog) -> None:
    """The next task comes when one is settled."""
    await log.append(*(Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in range(5)))
    tasks = log.work(DELIVERY, "w", subjects=["attempt.>"], in_flight=2)
    async with asyncio.timeout(15):
        first, _second = await anext(tasks), await anext(tasks)
    third = asyncio.ensure_future(anext(tasks))
    await asyncio.wait([third], timeout=0.3)
    assert not third.done()
    await first.ack()
    async with asyncio.timeout(15):
        assert (await third).position == 3


async def test_a_task_given_back_comes_again_after_its_delay(log: JetStreamLog) -> None:
    """Not sooner, and it says that it comes a second time."""
    await log.append(Append("attempt.apns.d1", an_attempt("d1"), 0))
    tasks = log.work(DELIVERY, "w", subjects=["attempt.>"])
    async with asyncio.timeout(15):
        task = await anext(tasks)
        assert task.deliveries == 1
        before = asyncio.get_running_loop().time()
        await task.give_back(delay_s=0.3)
        again = await anext(tasks)
    assert asyncio.get_running_loop().time() - before >= 0.3
    assert (again.position, again.deliveries) == (1, 2)


async def test_a_task_that_is_extended_is_not_handed_out_again(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """And one whose worker died is, after ack_wait."""
    await log.append(*(Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in (1, 2)))
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as dying:
        async with asyncio.timeout(15):
            left = await anext(dying.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=1, in_flight=1))
    assert left.position == 1
    tasks = log.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=1)
    async with asyncio.timeout(15):
        kept = await anext(tasks)
        again = await taken_while_extending(tasks, kept)
    assert {kept.position, again.position} == {1, 2}


async def taken_while_extending(tasks: AsyncIterator[Task], kept: Task) -> Task:
    coming = asyncio.ensure_future(anext(tasks))
    while not coming.done():
        await kept.extend()
        await asyncio.wait([coming], timeout=0.2)
    return coming.result()


async def test_what_waits_in_the_buffer_is_kept_alive(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Fetched ahead by a process that is busy: nobody else gets it, however long the task before it takes."""
    await log.append(*(Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in range(4)))
    busy = log.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=1, in_flight=2)
    async with asyncio.timeout(15):
        mine = [await anext(busy), await anext(busy)]
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        coming = asyncio.ensure_future(anext(other.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=1)))
        for _ in range(10):
            for task in mine:
                await task.extend()
            await asyncio.wait([coming], timeout=0.25)
        assert not coming.done()
        coming.cancel()
        await asyncio.wait([coming])


async def test_a_worker_that_ends_gives_back_what_it_had_fetched(log: JetStreamLog) -> None:
    """At once, not after ack_wait."""
    await log.append(*(Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in range(4)))
    async with asyncio.timeout(15):
        async with aclosing(log.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=60)) as tasks:
            await (await anext(tasks)).ack()
        others = log.work(DELIVERY, "w", subjects=["attempt.>"], ack_wait_s=60)
        found = sorted([(await anext(others)).position for _ in range(3)])
    assert found == [2, 3, 4]


async def test_a_message_that_is_no_fact_says_so_when_it_is_asked(log: JetStreamLog) -> None:
    """The worker decides what to do with it; its bytes are there."""
    await log.js.connection.ask("attempt.apns.x", b"not ours")
    async with asyncio.timeout(15):
        task = await anext(log.work(DELIVERY, "w", subjects=["attempt.>"]))
    assert (task.raw, task.subject) == (b"not ours", "attempt.apns.x")
    with pytest.raises(ValueError, match="topic"):
        _ = task.fact


async def test_passed_tells_whether_a_reader_has_anything_left(log: JetStreamLog) -> None:
    """Up to a position, on the subjects it reads."""
    mine, other = a_thread("mine"), a_thread("other")
    await log.events.save(mine, context=CONTEXT)
    await log.events.save(other, context=CONTEXT)
    mine.close(at=AT)
    await log.events.save(mine, context=CONTEXT)
    subject = f"evt.thread.*.{mine.id.hex}"
    assert not await log.passed(EVENTS, subject, 1, 0)
    assert await log.passed(EVENTS, subject, 2, 1)
    assert not await log.passed(EVENTS, subject, 3, 1)
    assert await log.passed(EVENTS, subject, 3, 3)
    last = await log.last(EVENTS, subject)
    assert last is not None
    assert isinstance(last.body, Thread.Closed)
    assert last.position == 3
    assert [fact.position for fact in await log.read(EVENTS, subject)] == [1, 3]
    assert await log.last(EVENTS, "evt.contact.>") is None


async def test_a_page_is_bounded_by_bytes_and_is_empty_at_the_end_alone(log: JetStreamLog) -> None:
    """As many messages as fit, and always one: none means that there are no more."""
    for n in range(7):
        await log.append(Append("attempt.apns.d", an_attempt("d", n)))
    sizes: list[int] = []
    after, bytes_max = 0, 700
    while page := await log.js.page(DELIVERY, "attempt.>", seq=after + 1, limit=5, bytes_max=bytes_max):
        sizes.append(len(page))
        after = page[-1].sequence
    assert sum(sizes) == 7
    assert 1 < max(sizes) < 5, "fewer than were asked for, though more follow"
    assert len(await log.js.page(DELIVERY, "attempt.>", limit=5, bytes_max=1)) == 1
    assert len(await log.js.page(DELIVERY, "attempt.>", limit=5, bytes_max=1 << 20)) == 5
