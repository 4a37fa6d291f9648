"""The live hub under failures: frames lost on their way, readers that do not read, a log that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from api.about.metrics import Metrics
from api.sockets.follower import Follower, State
from api.sockets.hub import Closed, Hub, Limits
from api.sockets.rounds import REST_S_MAX, rest_s
from api.sockets.wire import Encoding
from domain.errors import Invalid, Unavailable
from infra.eventstore.wire import pack_bytes
from tests.memory.clock import ManualClock
from tests.memory.ports.feed import MemoryFeed
from tests.memory.ports.streams import Entry, Streams
from tests.memory.recording import Recording
from tests.memory.site import eventually

NEWS, TALK = "feed.thread.aa", "feed.thread.bb"


class Bench:
    """A hub over FEED in memory."""

    def __init__(self, limits: Limits) -> None:
        self.streams = Streams(ManualClock())
        self.feed = MemoryFeed(self.streams)
        self.metrics = Metrics()
        self.hub = Hub(self.feed, self.metrics, limits)

    def show(self, subject: str, text: str, mid: str | None = None) -> int:
        frame = msgspec.json.encode({"msg": text, "mid": text if mid is None else mid})
        packed = pack_bytes(subject, "frame.v1", frame, at=self.streams.clock.now)
        return self.streams.append("FEED", [Entry(packed.subject, packed.lines, packed.body)])[0]

    def follower(self) -> tuple[Follower, Recording]:
        connection = Recording()
        return Follower(connection, Encoding.STREAM), connection


@asynccontextmanager
async def bench(**limits: Any) -> AsyncIterator[Bench]:
    made = Bench(Limits(**limits))
    tasks = [asyncio.create_task(made.feed.run()), asyncio.create_task(made.hub.run())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lost_frame_is_read_from_the_log_before_the_next_is_shown() -> None:
    """The next frame's previous position shows the loss; nothing is missing, twice, or out of order."""
    async with bench() as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS, TALK])
        it.show(NEWS, "1")
        await eventually(lambda: seen.texts == ["1"])
        it.feed.lose = 3
        for number in range(2, 5):
            it.show(NEWS, str(number))
        it.show(TALK, "5")
        it.show(NEWS, "6")
        await eventually(lambda: len(seen.texts) == 6)
        assert sorted(seen.texts) == ["1", "2", "3", "4", "5", "6"]
        assert [text for text in seen.texts if text != "5"] == ["1", "2", "3", "4", "6"]
        assert it.metrics.gaps._value.get() >= 1


async def test_a_frame_lost_last_is_found_without_another() -> None:
    """Feeds are compared with the log, so that the last frame is not missed until the next one comes."""
    async with bench() as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        it.feed.lose = 1
        it.show(NEWS, "last")
        await eventually(lambda: seen.texts == ["last"])


async def test_a_message_appended_twice_is_shown_once() -> None:
    """What was purged may be appended again: live, over a resume's start, and within what is resumed."""
    async with bench() as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        first = it.show(NEWS, "1", "m1")
        it.show(NEWS, "1 again", "m1")
        it.show(NEWS, "2", "m2")
        it.show(NEWS, "2 again", "m2")
        it.show(NEWS, "no id", "")
        it.show(NEWS, "no id", "")
        await eventually(lambda: len(seen.texts) == 4)
        assert seen.texts == ["1", "2", "no id", "no id"]
        late, missed = it.follower()
        await it.hub.follow(late, [NEWS], after=first)
        assert missed.texts == ["2", "no id", "no id"]


async def test_many_frames_at_once_are_one_write_each() -> None:
    """What comes during a turn is joined: one write to each follower, in order over all it follows."""
    async with bench() as it:
        followers = [it.follower() for _ in range(20)]
        for follower, _ in followers[:10]:
            await it.hub.follow(follower, [NEWS])
        for follower, _ in followers[10:]:
            await it.hub.follow(follower, [NEWS, TALK])
        for number in range(100):
            it.show(NEWS if number % 2 else TALK, str(number))
        await eventually(lambda: len(followers[-1][1].texts) == 100)
        for _, seen in followers[:10]:
            assert seen.texts == [str(number) for number in range(1, 100, 2)]
            assert seen.writes <= 2
        for _, seen in followers[10:]:
            assert seen.texts == [str(number) for number in range(100)]
            assert seen.writes <= 2


def test_a_long_round_is_followed_by_a_rest() -> None:
    """Three times as long, within bounds, so that what comes meanwhile is joined; a short one by none."""
    assert rest_s(0.0015) == 0
    assert rest_s(0.006) == pytest.approx(0.018)
    assert rest_s(2.0) == REST_S_MAX


async def test_a_slow_reader_holds_nobody_up_and_misses_nothing() -> None:
    """While it does not read it gets nothing; once it reads again it gets what it missed, then goes on."""
    async with bench() as it:
        slow, seen = it.follower()
        quick, other = it.follower()
        for follower in (slow, quick):
            await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "1")
        await eventually(lambda: seen.texts == ["1"])
        seen.room.clear()
        it.hub.fell_behind(slow)
        for number in range(2, 600):
            it.show(NEWS, str(number))
        await eventually(lambda: len(other.texts) == 599)
        assert seen.texts == ["1"]
        seen.room.set()
        await eventually(lambda: len(seen.texts) == 599)
        it.show(NEWS, "600")
        await eventually(lambda: len(seen.texts) == 600)
        assert seen.texts == [str(number) for number in range(1, 601)]


async def test_who_never_reads_is_cut_off_with_its_position() -> None:
    """Nothing is kept for it; the close says where to go on, and from there nothing is missed."""
    async with bench(drain_s=0.05) as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "1")
        await eventually(lambda: seen.texts == ["1"])
        seen.room.clear()
        it.hub.fell_behind(follower)
        it.show(NEWS, "2")
        await eventually(lambda: seen.closed)
        assert seen.closed is not None
        code, reason = seen.closed
        position = seen.frames[-1]["position"]
        assert (code, reason) == (4008, f"slow; resume at {position}")
        assert follower.state is State.CLOSED
        await eventually(lambda: not it.feed.followed)
        again, missed = it.follower()
        after = (await it.hub.positions()).take(position)
        await it.hub.follow(again, [NEWS], after=after)
        assert missed.texts == ["2"]


async def test_joining_while_frames_come_misses_and_repeats_nothing() -> None:
    """Whenever one joins, with or without a position, the frames are complete from there and in order."""
    async with bench() as it:
        steady, all_seen = it.follower()
        await it.hub.follow(steady, [NEWS])
        stop = asyncio.Event()

        async def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                it.show(NEWS, str(number))
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        joined: list[tuple[Recording, bool]] = []
        for number in range(40):
            follower, seen = it.follower()
            from_start = number % 2 == 0
            await it.hub.follow(follower, [NEWS], after=0 if from_start else None)
            joined.append((seen, from_start))
        stop.set()
        await writing
        last = it.show(NEWS, str(len(it.streams.messages["FEED"]) + 1))
        await eventually(lambda: all(seen.texts[-1:] == [str(last)] for seen, _ in joined))
        assert all_seen.texts == [str(number) for number in range(1, last + 1)]
        for seen, from_start in joined:
            first = int(seen.texts[0])
            assert seen.texts == [str(number) for number in range(first, last + 1)]
            assert first == 1 or not from_start


async def test_resuming_while_live_shows_only_what_was_not_shown() -> None:
    """A resume on a socket that has had live frames brings what is older, once."""
    async with bench() as it:
        for number in range(1, 4):
            it.show(NEWS, str(number))
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "4")
        await eventually(lambda: seen.texts == ["4"])
        assert await it.hub.resume(follower, 1) is True
        assert seen.texts == ["4", "2", "3"]
        assert await it.hub.resume(follower, 1) is True
        assert await it.hub.resume(follower, 0) is True
        assert seen.texts == ["4", "2", "3", "1"]
        with pytest.raises(Invalid):
            await it.hub.resume(follower, 99)


async def test_a_log_that_does_not_answer_is_told() -> None:
    """A follow fails as a whole and leaves nothing behind; it works once the log is back."""
    async with bench() as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [TALK])
        it.feed.down = True
        with pytest.raises(Unavailable):
            await it.hub.follow(follower, [NEWS])
        assert set(follower.following) == {TALK}
        it.feed.down = False
        await eventually(lambda: it.feed.followed == {TALK})
        await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "1")
        await eventually(lambda: seen.texts == ["1"])


async def test_a_gap_that_cannot_be_read_sends_its_followers_away() -> None:
    """Rather than show a feed with a hole, the hub closes with 1013 and the position before it."""
    async with bench(gap_s=0.05) as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "1")
        await eventually(lambda: seen.texts == ["1"])
        it.feed.down, it.feed.lose = True, 1
        it.show(NEWS, "2")
        it.show(NEWS, "3")
        await eventually(lambda: seen.closed)
        assert seen.closed is not None
        assert seen.closed[0] == 1013
        assert seen.texts == ["1"]
        assert seen.frames[-1]["position"] in seen.closed[1]


async def test_more_than_there_is_room_for_stays_in_the_log() -> None:
    """Frames that come faster than rounds are written wait in the log, and none is lost."""
    async with bench(pending=10) as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        for number in range(200):
            it.show(NEWS, str(number))
        await eventually(lambda: len(seen.texts) == 200)
        assert seen.texts == [str(number) for number in range(200)]


async def test_who_has_left_gets_nothing_and_follows_nothing() -> None:
    """A closed follower cannot join again, and the last to leave ends the feed."""
    async with bench() as it:
        follower, seen = it.follower()
        await it.hub.follow(follower, [NEWS])
        it.hub.leave_all(follower)
        it.show(NEWS, "1")
        await eventually(lambda: not it.feed.followed)
        assert seen.texts == []
        with pytest.raises(Closed):
            await it.hub.follow(follower, [NEWS])
        assert not it.feed.followed


@pytest.mark.parametrize("how", ["follow", "resume"])
async def test_who_leaves_while_filled_gets_no_more_of_it_and_may_come_back(how: str) -> None:
    """A right that ends meanwhile ends for what is still to be read from the log, too, and after falling behind."""
    async with bench() as it:
        for number in range(600):
            it.show(NEWS, str(number))
        follower, seen = it.follower()
        if how == "resume":
            await it.hub.follow(follower, [TALK, NEWS])
        seen.room.clear()
        task: asyncio.Task[Any] = asyncio.create_task(
            it.hub.resume(follower, 0) if how == "resume" else it.hub.follow(follower, [TALK, NEWS], after=0)
        )
        await eventually(lambda: seen.texts)
        shown = len(seen.texts)
        it.hub.leave(follower, [NEWS])
        seen.room.set()
        await task
        assert len(seen.texts) == shown < 600
        seen.room.clear()
        it.hub.fell_behind(follower)
        it.show(NEWS, "not for it")
        it.show(TALK, "talk")
        seen.room.set()
        await eventually(lambda: len(seen.texts) == shown + 1)
        assert seen.texts[-1] == "talk"
        await it.hub.follow(follower, [NEWS])
        it.show(NEWS, "back")
        await eventually(lambda: seen.texts[-1] == "back")


async def test_what_is_not_kept_any_more_is_said() -> None:
    """When older frames have made room for newer ones, a resume says that it is not complete; else it is."""
    async with bench() as it:
        it.feed.kept = 10
        for number in range(1, 31):
            it.show(NEWS, str(number))
        follower, seen = it.follower()
        told: list[bool] = []
        follower.on_incomplete = lambda: told.append(True)
        await it.hub.follow(follower, [NEWS], after=25)
        assert (seen.texts, told) == (["26", "27", "28", "29", "30"], [])
        assert await it.hub.resume(follower, 22) is True
        assert await it.hub.resume(follower, 5) is False
        assert sorted(map(int, seen.texts)) == list(range(21, 31))
        late, some = it.follower()
        late.on_incomplete = lambda: told.append(True)
        await it.hub.follow(late, [NEWS], after=5)
        assert (len(some.texts), told) == (10, [True])
