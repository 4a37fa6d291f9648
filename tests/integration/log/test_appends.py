"""Appends, the feed, schedules and what was put aside, on a real server."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from commands.port import VersionConflict
from domain.errors import TooLarge
from domain.recorded import DELIVERY, FEED, SCHEDULES
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.wire.errors import Refused
from processes.port import Append, Frame
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import AT, CONTEXT, a_thread, an_attempt, until
from tests.memory.ports.feeding import append_frames


async def test_records_are_appended_together_or_not_at_all(log: JetStreamLog) -> None:
    """Positions follow one another; one subject that is taken refuses all."""
    first = [Append(f"attempt.apns.d{n}", an_attempt(f"d{n}"), 0) for n in range(3)]
    assert await log.append(*first) == [1, 2, 3]
    second = [
        Append("attempt.apns.new", an_attempt("new"), 0),
        Append("attempt.apns.d1", an_attempt("d1"), 0),
    ]
    with pytest.raises(VersionConflict):
        await log.append(*second)
    assert await log.end(DELIVERY) == 3
    assert await log.append(Append("attempt.apns.d1", an_attempt("d1", 5), 2)) == [4]
    assert await log.append() == []


async def test_an_append_without_expectation_always_follows(log: JetStreamLog) -> None:
    """The same record twice is two facts: only a repetition by the log itself is dropped."""
    record = Append("outcome.apns.d1", an_attempt("d1"))
    assert await log.append(record) == [1]
    assert await log.append(record) == [2]
    assert await log.append(record, record) == [3, 4]


async def test_what_no_server_takes_is_refused_before_it_is_sent(log: JetStreamLog) -> None:
    """A message over the limit would cost the whole process its connection."""
    limit = log.js.connection.max_payload
    with pytest.raises(TooLarge):
        await show(log, "a", b"x" * limit)
    with pytest.raises(TooLarge):
        log.feed.assert_fits(b"x" * limit)
    log.feed.assert_fits(b"x")
    assert await show(log, "a", b"x") == 1


async def test_frames_reach_who_follows_their_subject(log: JetStreamLog) -> None:
    """With their position and the previous one on the subject, in order, and no others."""
    seen: list[tuple[int, int, str, bytes]] = []
    end = await log.feed_reader.subscribe("feed.thread.a", lambda *frame: seen.append(frame))
    for n, name in enumerate("aba"):
        await show(log, name, b"%d" % n)
    await until(lambda: reached(seen, 2))
    assert seen == [(1, 0, "feed.thread.a", b"0"), (3, 1, "feed.thread.a", b"2")]
    await end()
    await show(log, "a", b"after")
    other: list[tuple[int, int, str, bytes]] = []
    end = await log.feed_reader.subscribe("feed.thread.a", lambda *frame: other.append(frame))
    await show(log, "a", b"more")
    await until(lambda: reached(other, 1))
    assert len(seen) == 2
    assert other[0][:2] == (5, 4)


def a_frame(name: str, body: bytes) -> Frame:
    return Frame(subject=f"feed.thread.{name}", body=body, message="m")


async def show(log: JetStreamLog, name: str, body: bytes) -> int:
    return await append_frames(log.feed, a_frame(name, body))


async def reached(seen: list[tuple[int, int, str, bytes]], count: int) -> bool:
    return len(seen) >= count


async def test_what_was_missed_is_read_in_order_over_several_subjects(log: JetStreamLog) -> None:
    """From a position on, as many as asked for, each subject's last position by itself."""
    for n in range(9):
        await show(log, "abc"[n % 3], b"%d" % n)
    reader = log.feed_reader
    assert await reader.bounds() == (1, 9)
    assert await reader.since(["feed.thread.a", "feed.thread.c"], 3, 3) == [
        (4, "feed.thread.a", b"3"),
        (6, "feed.thread.c", b"5"),
        (7, "feed.thread.a", b"6"),
    ]
    assert await reader.last(["feed.thread.a", "feed.thread.none"]) == {"feed.thread.a": 7}
    assert await reader.since([], 0, 10) == []
    assert await reader.epoch() == await log.epoch(FEED)


async def test_frames_that_share_a_commit_reach_their_sockets_one_by_one(own_server: NatsServer) -> None:
    """Three hundred at once on a server that flushes each write: all of them, in order, each with its position."""
    seen: list[tuple[int, int, str, bytes]] = []
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        for n in range(3):
            await log.feed_reader.subscribe(f"feed.thread.{n}", lambda *frame: seen.append(frame))
        frames = [a_frame(str(n % 3), b"%d" % n) for n in range(300)]
        assert await append_frames(log.feed, *frames) == 300
        await until(lambda: reached(seen, 300))
    assert [position for position, *_ in seen] == list(range(1, 301))
    assert [frame for *_, frame in seen] == [b"%d" % n for n in range(300)]
    for position, previous, subject, _ in seen:
        former = [each[0] for each in seen if each[2] == subject and each[0] < position]
        assert previous == max(former, default=0)


async def test_an_empty_feed_has_bounds(log: JetStreamLog) -> None:
    """The first position is behind the last."""
    first, last = await log.feed_reader.bounds()
    assert (first, last) == (1, 0)


async def test_a_schedule_is_due_at_its_time(log: JetStreamLog) -> None:
    """Written again it is replaced; taken back it never comes; long past it comes at once."""
    now = datetime.now(UTC)
    await log.schedule("past", now - timedelta(days=1), target="due.test.past", body=b"past")
    await log.schedule("moved", now + timedelta(seconds=0.3), target="due.test.moved", body=b"early")
    await log.schedule("moved", now + timedelta(seconds=0.9), target="due.test.moved", body=b"late")
    await log.schedule("gone", now + timedelta(seconds=0.3), target="due.test.gone", body=b"gone")
    await log.unschedule("gone")
    await log.unschedule("never-was")
    came: list[tuple[str, bytes]] = []
    async with asyncio.timeout(15):
        async for task in log.work(SCHEDULES, "due", subjects=["due.test.>"]):
            came.append((task.subject, task.raw))
            await task.ack()
            if len(came) == 2:
                break
    assert came == [("due.test.past", b"past"), ("due.test.moved", b"late")]
    assert datetime.now(UTC) >= now + timedelta(seconds=0.9)


async def test_what_was_put_aside_is_listed_by_subject(log: JetStreamLog) -> None:
    """With the positions of each; other sources' are theirs."""
    for position in (7, 9, 7):
        await log.triage("projector", "evt.thread.00.a", reason="por qué\nno", body=b"b", position=position)
    await log.triage("projector", "evt.thread.00.b", reason="no", body=b"", position=8)
    await log.triage("worker", "evt.thread.00.c", reason="no", body=b"", position=9)
    assert await log.triaged("projector") == {"evt.thread.00.a": [7, 9], "evt.thread.00.b": [8]}
    assert await log.triaged("worker") == {"evt.thread.00.c": [9]}
    assert await log.triaged("nobody") == {}


async def test_saves_of_several_events_share_batches(log: JetStreamLog, nats_server: NatsServer) -> None:
    """One stale save among a hundred is refused alone; all others are stored whole."""
    thread = a_thread("contended")
    await log.events.save(thread, context=CONTEXT)
    stale = await log.events.load(Thread, thread.id)
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        thread.change(at=AT, settings=Settings(name="by another process"))
        await other.events.save(thread, context=CONTEXT)
    assert stale is not None
    for name in ("one", "two"):
        stale.change(at=AT, settings=Settings(name=name))
    threads = [a_thread(f"{n}") for n in range(100)]
    for each in threads:
        each.close(at=AT)
    saves = [log.events.save(each, context=CONTEXT) for each in [*threads[:50], stale, *threads[50:]]]
    results = await asyncio.gather(*saves, return_exceptions=True)
    assert isinstance(results[50], VersionConflict)
    assert len({result for result in results if isinstance(result, int)}) == 100
    for each in threads:
        loaded = await log.events.load(Thread, each.id, fresh=True)
        assert loaded is not None
        assert loaded.version == 2


async def test_events_can_be_neither_deleted_nor_purged(log: JetStreamLog) -> None:
    """Not even by a client with all rights on the account."""
    await log.events.save(a_thread(), context=CONTEXT)
    with pytest.raises(Refused):
        await log.js.api("STREAM.MSG.DELETE.EVENTS", {"seq": 1})
    with pytest.raises(Refused):
        await log.js.api("STREAM.PURGE.EVENTS")
    info = await log.js.info("EVENTS")
    assert info is not None
    for setting in ("deny_delete", "deny_purge"):
        with pytest.raises(Refused):
            await log.js.api("STREAM.UPDATE.EVENTS", {**info.config, setting: False})
