"""The API's ports on the log, as every implementation has to be: frames live and past, events by position, rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import pytest
import pytest_asyncio

from api.port import EventReader, FeedReader, ReceiptSink, RightsWatch
from cli.wiring.ports import EventsByPosition, ReceiptsToLog, RightsFromLog
from domain.context import Context
from domain.deliveries.delivery import Receipt
from domain.ids import Ids
from domain.message import Content, Message, ToEveryone
from domain.recorded import DELIVERY
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from processes.port import Frame
from tests.conformance.doors import BACKENDS, Doors, open_doors
from tests.memory.ports.feed import MemoryEvents, MemoryFeed
from tests.memory.ports.feeding import append_frames
from tests.memory.ports.log import MemoryLog

IDS = Ids(b"an id key for tests, of 32 bytes")
CONTEXT = Context("main", "boss", "", "corr")
NEWS, TALK = "feed.thread.aa", "feed.contact.bb"
WAIT_S_MAX = 10.0

Heard = list[tuple[int, int, str, bytes]]


@dataclass(frozen=True, slots=True)
class Edge:
    doors: Doors
    feed: FeedReader
    events: EventReader
    rights: RightsWatch
    receipts: ReceiptSink

    async def show(self, subject: str, text: bytes) -> int:
        return await append_frames(self.doors.feed, Frame(subject=subject, body=text, message="m"))


@pytest.fixture(params=BACKENDS)
def doors(request: pytest.FixtureRequest) -> Doors:
    return open_doors(request)


@pytest_asyncio.fixture
async def edge(doors: Doors) -> AsyncIterator[Edge]:
    rights, receipts = RightsFromLog(doors.log), ReceiptsToLog(doors.log)
    if isinstance(doors.log, JetStreamLog):
        yield Edge(doors, doors.log.feed_reader, EventsByPosition(doors.log), rights, receipts)
        return
    memory = cast("MemoryLog", doors.log)
    feed = MemoryFeed(memory.streams)
    pumping = asyncio.create_task(feed.run())
    yield Edge(doors, feed, MemoryEvents(memory), rights, receipts)
    pumping.cancel()


async def eventually(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not reached():
            await asyncio.sleep(0.005)


async def test_frames_come_live_with_their_position_and_the_previous_one(edge: Edge) -> None:
    """In order over all subjects of a reader; none of other subjects, none after the end of the subscription."""
    await edge.show(NEWS, b"before")
    heard: Heard = []

    def hear(*frame: Any) -> None:
        heard.append(frame)

    end_news = await edge.feed.subscribe(NEWS, hear)
    end_talk = await edge.feed.subscribe(TALK, hear)
    for text, subject in ((b"1", NEWS), (b"2", TALK), (b"x", "feed.thread.cc"), (b"3", NEWS)):
        await edge.show(subject, text)
    await eventually(lambda: len(heard) == 3)
    assert heard == [(2, 1, NEWS, b"1"), (3, 0, TALK, b"2"), (5, 2, NEWS, b"3")]
    await end_news()
    await edge.show(NEWS, b"after")
    await edge.show(TALK, b"last")
    await eventually(lambda: len(heard) == 4)
    assert heard[-1] == (7, 3, TALK, b"last")
    await end_talk()


async def test_past_frames_are_read_in_order_and_bounds_are_the_leaders(edge: Edge) -> None:
    """All up to an answered head; pages go on where the last one ended."""
    assert await edge.feed.bounds() == (1, 0)
    for number in range(7):
        await edge.show(NEWS if number % 2 else TALK, b"%d" % number)
    assert await edge.feed.bounds() == (1, 7)
    both = await edge.feed.since([NEWS, TALK], 0, 5)
    assert [(position, text) for position, _, text in both] == [(n + 1, b"%d" % n) for n in range(5)]
    assert await edge.feed.since([NEWS, TALK], both[-1][0], 5) == [(6, NEWS, b"5"), (7, TALK, b"6")]
    assert await edge.feed.since([NEWS], 6, 5) == []
    assert await edge.feed.last([NEWS, TALK, "feed.thread.cc"]) == {NEWS: 6, TALK: 7}
    assert await edge.feed.epoch()
    assert await edge.feed.kept_per_subject() >= 0


async def test_the_first_frame_after_an_event_is_found(edge: Edge) -> None:
    """Of one subject, however far back; none where nothing later was shown."""
    for event in range(1, 401):
        frame = Frame(subject=NEWS if event % 2 else TALK, body=b"{}", message="m", position=10 * event)
        await append_frames(edge.doors.feed, frame)
    assert [await edge.feed.first_after(NEWS, event) for event in (0, 10, 11, 1000, 3980, 3989)] == [
        *(1, 3, 3, 101),
        *(399, 399),
    ]
    assert [await edge.feed.first_after(NEWS, event) for event in (3990, 5000)] == [0, 0]
    assert await edge.feed.first_after(TALK, 3990) == 400
    assert await edge.feed.first_after("feed.thread.cc", 0) == 0


async def test_events_are_read_by_position(edge: Edge) -> None:
    """Oldest first, at most as many as asked for, none at the end."""
    assert await edge.events.end() == 0
    for tid in ("a", "b", "c"):
        await edge.doors.store.save(opened(tid, edge), context=CONTEXT)
    assert await edge.events.end() == 3
    found = await edge.events.after(0, 2)
    assert [(fact.position, fact.topic) for fact in found] == [
        (1, "thread.opened.v1"),
        (2, "thread.opened.v1"),
    ]
    assert [fact.position for fact in await edge.events.after(2, 2)] == [3]
    assert await edge.events.after(3, 2) == []


async def test_rights_are_told_from_the_beginning_of_the_watch_on(edge: Edge) -> None:
    """An empty batch says that it has begun; then threads' facts come, what was before does not."""
    await edge.doors.store.save(opened("before", edge), context=CONTEXT)
    watch = edge.rights.follow()
    async with asyncio.timeout(WAIT_S_MAX), aclosing(cast("Any", watch)):
        assert list(await anext(watch)) == []
        await edge.doors.store.save(message(edge), context=CONTEXT)
        thread = opened("after", edge)
        await edge.doors.store.save(thread, context=CONTEXT)
        topics: list[str] = []
        while not topics or topics[-1] != "thread.opened.v1":
            topics += [fact.topic for fact in await anext(watch)]
    assert topics.count("thread.opened.v1") == 1


async def test_a_receipt_is_on_the_log(edge: Edge) -> None:
    """With the message and the contact, in the order of receipts."""
    one = message(edge)
    receipt = Receipt("main", one.id, "websocket", one.id, None, "read", edge.doors.now())
    await edge.receipts.take(receipt)
    [fact] = await edge.doors.log.read(DELIVERY, f"receipt.websocket.{one.id.hex}")
    assert fact.body == receipt
    assert await edge.receipts.end() == fact.position


def opened(tid: str, edge: Edge) -> Thread:
    id = IDS.thread("main", tid)
    return Thread.open(id=id, at=edge.doors.now(), tid=tid, settings=Settings())


def message(edge: Edge) -> Message:
    return Message.accept(
        id=IDS.message("main", "n"),
        at=edge.doors.now(),
        audience=ToEveryone(),
        content=Content("hello"),
        sender="boss",
        expires_at=edge.doors.now(),
    )
