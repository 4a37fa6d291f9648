"""processes.port.Log, as every implementation has to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from commands.port import VersionConflict
from domain.context import Context
from domain.deliveries.delivery import Attempt
from domain.recorded import DELIVERY, EVENTS, SCHEDULES, Checkpoint, Recorded
from domain.thread import Settings, Thread
from processes.port import Append, LogMismatch, Poison, Task
from tests.conformance.doors import BACKENDS, Doors, open_doors

AT = datetime(2027, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CONTEXT = Context("main", "boss", "cause", "corr")
ACK_WAIT_S = 0.5
WAIT_S_MAX = 15


@pytest.fixture(params=BACKENDS)
def doors(request: pytest.FixtureRequest) -> Doors:
    return open_doors(request)


def record(dispatch: str, first: int = 0) -> Attempt:
    return Attempt("main", UUID(int=1), "apns", dispatch, first, first + 5, "g", AT)


def attempt(dispatch: str, expect: int | None = None, first: int = 0) -> Append:
    return Append(f"attempt.apns.{dispatch}", record(dispatch, first), expect, "corr")


async def thread(doors: Doors) -> Thread:
    made = Thread.open(id=uuid4(), at=AT, tid="news", settings=Settings())
    await doors.store.save(made, context=CONTEXT)
    return made


@asynccontextmanager
async def closing[T](source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """What a log gives out can be closed, and is."""
    assert isinstance(source, AsyncGenerator)
    async with aclosing(source):
        yield source


async def test_an_event_is_a_fact_with_its_envelope(doors: Doors) -> None:
    """What the store saved is read back from the log: who, when, why, and the event itself."""
    made = await thread(doors)
    fact = await doors.log.last(EVENTS, f"evt.thread.*.{made.id.hex}")
    assert fact is not None
    assert (fact.stream, fact.position, fact.topic) == (EVENTS, 1, "thread.opened.v1")
    assert (fact.realm, fact.actor, fact.causation, fact.correlation) == ("main", "boss", "cause", "corr")
    assert fact.at == AT
    assert isinstance(fact.body, Thread.Opened)
    assert vars(fact.body.mutate(None)) == vars(made)
    assert len(fact.digest) == 64


async def test_records_are_appended_in_order_and_read_back(doors: Doors) -> None:
    """Positions follow each other; a subject, or many by wildcard, oldest first, as many as asked for."""
    assert await doors.log.append(attempt("a"), attempt("b"), attempt("a", first=5)) == [1, 2, 3]
    assert await doors.log.append(attempt("c")) == [4]
    assert await doors.log.end(DELIVERY) == 4
    facts = await doors.log.read(DELIVERY, "attempt.apns.*")
    assert [fact.position for fact in facts] == [1, 2, 3, 4]
    assert [fact.body for fact in facts] == [record("a"), record("b"), record("a", 5), record("c")]
    assert {fact.correlation for fact in facts} == {"corr"}
    assert [fact.position for fact in await doors.log.read(DELIVERY, "attempt.apns.a")] == [1, 3]
    assert [fact.position for fact in await doors.log.read(DELIVERY, "attempt.>", limit=2)] == [1, 2]
    last = await doors.log.last(DELIVERY, "attempt.apns.a")
    assert last is not None
    assert last.position == 3
    assert await doors.log.last(DELIVERY, "attempt.apns.x") is None
    assert await doors.log.read(DELIVERY, "attempt.apns.x") == []


async def test_what_is_expected_of_a_subject_must_hold(doors: Doors) -> None:
    """0 for a new one, the last position for one that is there; else nothing is stored."""
    await doors.log.append(attempt("a", 0))
    for wrong in (0, 2):
        with pytest.raises(VersionConflict):
            await doors.log.append(attempt("a", wrong))
    await doors.log.append(attempt("a", 1))
    await doors.log.append(attempt("a", None))
    assert await doors.log.end(DELIVERY) == 3


async def test_records_are_appended_all_or_none(doors: Doors) -> None:
    """One wrong expectation, first or last, refuses all."""
    await doors.log.append(attempt("a", 0))
    for batch in ((attempt("b", 0), attempt("a", 0)), (attempt("a", 0), attempt("b", 0))):
        with pytest.raises(VersionConflict):
            await doors.log.append(*batch)
    assert await doors.log.end(DELIVERY) == 1
    assert await doors.log.append(attempt("a", 1), attempt("b", 0)) == [2, 3]


async def test_one_of_many_racing_appends_wins(doors: Doors) -> None:
    """Eight at once with the same expectation: the fence lets one through."""
    answers = await asyncio.gather(
        *(doors.log.append(attempt("a", 0, number)) for number in range(8)), return_exceptions=True
    )
    assert sum(1 for answer in answers if isinstance(answer, VersionConflict)) == 7
    assert await doors.log.end(DELIVERY) == 1


async def taken(tasks: AsyncIterator[Task], doors: Doors, *, after_s: float = 0.0) -> Task:
    """The next task, once the time has passed."""
    doors.let_pass(after_s)
    async with asyncio.timeout(WAIT_S_MAX):
        return await anext(tasks)


async def test_work_is_handed_out_in_order_and_once(doors: Doors) -> None:
    """Each task is its fact; what was acknowledged never comes back, for whoever takes the same durable later."""
    await doors.log.append(attempt("a"), attempt("b"))
    await thread(doors)
    async with closing(_work(doors)) as tasks:
        for dispatch, position in (("a", 1), ("b", 2)):
            task = await taken(tasks, doors)
            assert (task.stream, task.subject, task.position) == (
                DELIVERY,
                f"attempt.apns.{dispatch}",
                position,
            )
            assert task.deliveries == 1
            assert task.fact.body == record(dispatch)
            assert msgspec.json.decode(task.raw, type=Attempt) == record(dispatch)
            await task.ack()
    await doors.log.append(attempt("c"))
    async with closing(_work(doors)) as tasks:
        assert (await taken(tasks, doors, after_s=ACK_WAIT_S)).fact.body == record("c")


def _work(doors: Doors, durable: str = "tester", *, in_flight: int = 8) -> AsyncIterator[Task]:
    return doors.log.work(
        DELIVERY, durable, subjects=("attempt.>",), ack_wait_s=ACK_WAIT_S, in_flight=in_flight
    )


async def test_a_task_without_an_answer_comes_back(doors: Doors) -> None:
    """After its time, with the number of deliveries; another durable has its own."""
    await doors.log.append(attempt("a"))
    async with closing(_work(doors)) as tasks:
        assert (await taken(tasks, doors)).deliveries == 1
        again = await taken(tasks, doors, after_s=ACK_WAIT_S)
        assert (again.position, again.deliveries) == (1, 2)
        async with closing(_work(doors, "another")) as others:
            assert (await taken(others, doors)).deliveries == 1


async def test_a_task_given_back_comes_after_its_delay(doors: Doors) -> None:
    """At once without one; and to whoever takes from the durable."""
    await doors.log.append(attempt("a"))
    async with closing(_work(doors)) as tasks:
        first = await taken(tasks, doors)
        await first.give_back()
        second = await taken(tasks, doors)
        assert second.deliveries == 2
        began = doors.now()
        await second.give_back(delay_s=0.4)
        third = await taken(tasks, doors, after_s=0.4)
        assert third.deliveries == 3
        assert doors.now() - began >= timedelta(seconds=0.35)


async def test_an_acknowledgement_counts_whoever_has_the_task(doors: Doors) -> None:
    """A worker that was given up for dead, and was not, may still say that the work is done."""
    await doors.log.append(attempt("a"), attempt("b"))
    async with closing(_work(doors)) as tasks:
        first = await taken(tasks, doors)
        await (await taken(tasks, doors)).ack()
        second = await taken(tasks, doors, after_s=ACK_WAIT_S)
        assert (second.position, second.deliveries) == (1, 2)
        await first.ack()
    await doors.log.append(attempt("c"))
    async with closing(_work(doors)) as tasks:
        assert (await taken(tasks, doors, after_s=ACK_WAIT_S)).position == 3


async def test_a_late_give_back_does_not_hurry_who_has_the_task_now(doors: Doors) -> None:
    """Given back with a delay by the former holder: the present one's word still counts."""
    await doors.log.append(attempt("a"))
    async with closing(_work(doors)) as tasks:
        first = await taken(tasks, doors)
        second = await taken(tasks, doors, after_s=ACK_WAIT_S)
        await first.give_back(delay_s=30)
        await second.ack()
        await doors.log.append(attempt("b"))
        assert (await taken(tasks, doors, after_s=ACK_WAIT_S)).position == 2


async def test_no_more_is_handed_out_than_may_be_in_flight(doors: Doors) -> None:
    """The next comes when one is answered."""
    await doors.log.append(*(attempt(str(number)) for number in range(3)))
    async with closing(_work(doors, in_flight=2)) as tasks:
        first, _ = await taken(tasks, doors), await taken(tasks, doors)
        waiting = asyncio.ensure_future(anext(tasks))
        done, _ = await asyncio.wait((waiting,), timeout=0.1)
        assert not done
        await first.ack()
        async with asyncio.timeout(WAIT_S_MAX):
            assert (await waiting).position == 3


async def test_what_is_no_fact_says_so(doors: Doors) -> None:
    """Its bytes can be had all the same: those of a schedule are our own."""
    await doors.log.schedule("x", doors.now(), target="due.test.x", body=b"ours")
    work = doors.log.work(SCHEDULES, "due", subjects=("due.test.>",), ack_wait_s=ACK_WAIT_S)
    async with closing(work) as tasks:
        task = await taken(tasks, doors)
        assert task.raw == b"ours"
        with pytest.raises(ValueError):  # noqa: PT011  whatever it says
            _ = task.fact
        await task.ack()


async def test_a_worker_gets_the_topics_it_asks_for(doors: Doors) -> None:
    """In whatever version they were written; the others, and what has no topic, it never sees."""
    opened, closed = await thread(doors), await thread(doors)
    closed.close(at=AT)
    await doors.store.save(closed, context=CONTEXT)
    await doors.put("evt.thread.00.x", "", b"none of ours")
    await doors.put("evt.thread.00.y", "thread.closed-by-hand.v1", b"{}")
    await doors.put("evt.thread.00.z", "thread.closed.v17", b"of the future")
    work = doors.log.work(
        EVENTS, "tester", subjects=("evt.thread.>",), ack_wait_s=ACK_WAIT_S, topics=("thread.closed.v1",)
    )
    async with closing(work) as tasks:
        first = await taken(tasks, doors)
        assert isinstance(first.fact.body, Thread.Closed)
        await first.ack()
        second = await taken(tasks, doors)
        assert (second.raw, second.position) == (b"of the future", 6)
        await second.ack()
        opened.close(at=AT)
        await doors.store.save(opened, context=CONTEXT)
        assert (await taken(tasks, doors, after_s=ACK_WAIT_S)).position == 7


async def test_what_can_not_be_read_is_poison_in_its_place(doors: Doors) -> None:
    """A reader gets it with the reason, and everything after it."""
    await thread(doors)
    await doors.put("evt.thread.00.x", "", b"none of ours")
    await doors.put("evt.thread.00.y", "thread.never-heard-of.v1", b"{}")
    await thread(doors)
    found: list[Recorded | Poison] = []
    async with closing(doors.log.follow(EVENTS, None)) as reading, asyncio.timeout(WAIT_S_MAX):
        while len(found) < 4:
            found += await anext(reading)
    assert [type(each) for each in found] == [Recorded, Poison, Poison, Recorded]
    poison = found[1]
    assert isinstance(poison, Poison)
    assert (poison.stream, poison.position, poison.subject) == (EVENTS, 2, "evt.thread.00.x")
    assert poison.reason


async def test_schedules_fire_once_replace_themselves_and_can_be_taken_back(doors: Doors) -> None:
    """The body comes on the target when it is due; what is long past, at once; what never was can be taken back."""
    now = doors.now()
    await doors.log.schedule("past", now - timedelta(days=1), target="due.test.past", body=b"past")
    await doors.log.schedule("moved", now + timedelta(seconds=0.3), target="due.test.moved", body=b"early")
    await doors.log.schedule("moved", now + timedelta(seconds=1.2), target="due.test.moved", body=b"late")
    await doors.log.schedule("gone", now + timedelta(seconds=0.3), target="due.test.gone", body=b"gone")
    await doors.log.unschedule("gone")
    await doors.log.unschedule("never-was")
    work = doors.log.work(SCHEDULES, "due", subjects=("due.test.>",), ack_wait_s=5.0)
    async with closing(work) as tasks:
        first = await taken(tasks, doors)
        assert (first.subject, first.raw) == ("due.test.past", b"past")
        await first.ack()
        second = await taken(tasks, doors, after_s=1.2)
        assert (second.subject, second.raw) == ("due.test.moved", b"late")
        assert doors.now() >= now + timedelta(seconds=1.2)


Batches = AsyncIterator[Sequence[Recorded | Poison]]


async def positions(batches: Batches, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(WAIT_S_MAX):
        while len(found) < count:
            found += [fact.position for fact in await anext(batches)]
    return found


async def test_a_reader_gets_all_facts_in_order_and_those_to_come(doors: Doors) -> None:
    """From the start or behind a checkpoint, in batches no larger than asked for, filtered by subject."""
    made = [await thread(doors) for _ in range(5)]
    async with closing(doors.log.follow(EVENTS, None, batch=2)) as reading:
        assert len(await anext(reading)) <= 2
        rest = await positions(reading, 3)
        assert rest[-1] == 5
        await thread(doors)
        assert await positions(reading, 1) == [6]
    third = await doors.log.last(EVENTS, f"evt.thread.*.{made[2].id.hex}")
    assert third is not None
    start = Checkpoint(EVENTS, 3, await doors.log.epoch(EVENTS), third.digest)
    async with closing(doors.log.follow(EVENTS, start)) as reading:
        assert await positions(reading, 3) == [4, 5, 6]
    chosen = [f"evt.thread.*.{made[index].id.hex}" for index in (1, 4)]
    async with closing(doors.log.follow(EVENTS, None, subjects=chosen)) as reading:
        assert await positions(reading, 2) == [2, 5]


async def test_a_log_that_is_another_is_not_read(doors: Doors) -> None:
    """Another epoch, another fact at the position, or an end before it; a checkpoint without digest is not compared."""
    await thread(doors)
    epoch = await doors.log.epoch(EVENTS)
    for start in (
        Checkpoint(EVENTS, 1, "another", ""),
        Checkpoint(EVENTS, 1, epoch, "0" * 64),
        Checkpoint(EVENTS, 2, epoch, ""),
        Checkpoint(DELIVERY, 1, epoch, ""),
    ):
        async with closing(doors.log.follow(EVENTS, start)) as reading:
            with pytest.raises(LogMismatch):
                await positions(reading, 1)
    await thread(doors)
    async with closing(doors.log.follow(EVENTS, Checkpoint(EVENTS, 1, epoch, ""))) as reading:
        assert await positions(reading, 1) == [2]


async def test_a_reader_without_anything_left_has_passed(doors: Doors) -> None:
    """Nothing on its subjects between what it applied and the position."""
    mine, _ = await thread(doors), await thread(doors)
    subject = f"evt.thread.*.{mine.id.hex}"
    assert not await doors.log.passed(EVENTS, subject, 2, 0)
    assert await doors.log.passed(EVENTS, subject, 2, 1)
    assert not await doors.log.passed(EVENTS, "evt.thread.>", 2, 1)
    assert await doors.log.passed(EVENTS, "evt.thread.>", 2, 2)
    assert await doors.log.passed(EVENTS, "evt.thread.>", 1, 1)


async def test_what_was_put_aside_is_listed_with_its_positions(doors: Doors) -> None:
    """By source, in order; the same fact again is the same entry."""
    for position in (7, 9, 7):
        await doors.log.triage("one", "evt.x.00.a", reason="why\nnot", body=b"b", position=position)
    await doors.log.triage("one", "evt.x.00.b", reason="", body=b"", position=8)
    await doors.log.triage("other", "evt.x.00.c", reason="no", body=b"", position=1)
    assert await doors.log.triaged("one") == {"evt.x.00.a": [7, 9], "evt.x.00.b": [8]}
    assert await doors.log.triaged("other") == {"evt.x.00.c": [1]}
    assert await doors.log.triaged("nobody") == {}


async def test_what_was_put_aside_before_a_time_is_left_out(doors: Doors) -> None:
    """A reader that begins later asks for what came since."""
    await doors.log.triage("one", "evt.x.00.a", reason="no", body=b"", position=7)
    assert await doors.log.triaged("one", since=datetime(2020, 1, 1, tzinfo=UTC)) == {"evt.x.00.a": [7]}
    assert await doors.log.triaged("one", since=datetime(2100, 1, 1, tzinfo=UTC)) == {}
