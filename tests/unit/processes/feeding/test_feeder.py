"""The feeder: frames on FEED in the order of the log, once each, whoever dies, sleeps or stands by."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from commands.messaging import Broadcast, Cancel, Draft, Multicast
from domain.errors import TooLarge
from domain.message import Message
from domain.recorded import EVENTS, FEED, Checkpoint, Recorded
from infra.log.feeding import frame_of
from infra.nats.wire.frames import Stored
from processes.feeding.feed import showing, thread_subject
from processes.feeding.feeder import Feeder, Feeding
from processes.port import Frame, LogMismatch
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import open_thread, publish
from tests.memory.ports.feeding import MemoryFeedLog, MemoryLease, append_frames
from tests.memory.ports.streams import Entry
from tests.memory.world import IDS, REALM, World, world

ROLES = ("scheduler", "due")
UIDS = tuple(f"u{number}" for number in range(7))


class Everybodys:
    """processes.port.Lease that each process thinks is its own, as two do for a moment when one was suspended."""

    is_held = True

    async def take(self) -> bool:
        return True

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def give_back(self) -> None:
        pass


def feeder(made: World, life: Lifeline | None = None, **options: Any) -> Feeder:
    to = made.connect(life)
    given: dict[str, Any] = {
        "feed": MemoryFeedLog(made.streams, to.life, at_once=made.frames_at_once),
        "lease": Everybodys(),
        "again_s": 0.0,
        **options,
    }
    return Feeder(log=to.log, store=to.store, ids=IDS, clock=made.clock, **given)


def shown(made: World) -> list[tuple[str, int, int]]:
    """(subject, position, index) of each frame on FEED."""
    frames = map(frame_of, made.streams.messages[FEED])
    return [(frame.subject, frame.position, frame.index) for frame in frames]


def wanted(made: World, after: int = 0) -> list[tuple[str, int, int]]:
    """What FEED has to hold, and nothing else: each message's frames at the event that made it due."""
    accepted: dict[Any, Message] = {}
    found = []
    for fact in made.facts(EVENTS, "evt.message.>"):
        body = fact.body
        if isinstance(body, Message.Accepted):
            accepted[body.originator_id] = body.mutate(None)
        is_due = isinstance(body, Message.Due) or (
            isinstance(body, Message.Accepted) and body.scheduled_at is None
        )
        if is_due and fact.position > after:
            seen = showing(IDS, REALM, accepted[body.originator_id])  # type: ignore[union-attr]
            found += [(each, fact.position, i) for i, each in enumerate(seen.subjects if seen else ())]
    return found


async def many(made: World) -> None:
    """Messages to a thread, to several people, to everybody, by mail alone, and later, at once."""
    mail = Draft(text="by mail", channels=("email",))
    later = Draft(text="later", scheduled_at=made.clock.now + timedelta(minutes=5))
    for turn in range(4):
        calls = [
            publish(made, text=f"one {turn}"),
            made.do(Multicast(uids=UIDS, draft=Draft(text=f"many {turn}"))),
            made.do(Broadcast(draft=Draft(text=f"all {turn}"))),
            made.do(Multicast(uids=UIDS, draft=mail)),
            made.do(Multicast(uids=UIDS[:2], draft=later)),
        ]
        await asyncio.gather(*(calls if turn % 2 else reversed(calls)))
    await made.rest()


async def test_two_processes_show_the_order_of_the_log() -> None:
    """Every frame is there once, at the place that its event has on the log, also of what was scheduled."""
    async with world(roles=ROLES) as made:
        for _ in range(2):
            made.start("feeder")
        await open_thread(made)
        await many(made)
        assert shown(made) == wanted(made)
        assert len(shown(made)) == 4 * (1 + len(UIDS) + 1 + 2)


STEPS = 20
"""More appends than the scenario takes, two frames at a time."""


@pytest.mark.parametrize("fault", [Fault.DEATH, Fault.PAUSE, Fault.LOST_ANSWER])
async def test_a_feeder_may_fail_between_any_frames(fault: Fault) -> None:
    """Also in the middle of a message to many contacts: its successor goes on behind the last frame, with the next."""
    for step in range(1, STEPS):
        async with world(roles=ROLES) as made:
            made.frames_at_once = 2
            life = Lifeline(fault, step)
            made.start("feeder", life)
            made.start("feeder")
            await open_thread(made)
            await many(made)
            life.awake.set()
            await publish(made)
            await made.rest()
            assert life.hit
            assert shown(made) == wanted(made)


@pytest.mark.parametrize("step", range(1, 9))
async def test_one_that_was_suspended_writes_nothing_behind_its_successor(step: int) -> None:
    """It wakes and still thinks that FEED is its own, and so does the other: nothing is there twice, or swapped."""
    async with world(roles=ROLES) as made:
        made.frames_at_once = 2
        life = Lifeline(Fault.PAUSE, step)
        await open_thread(made)
        async with asyncio.TaskGroup() as group:
            older = group.create_task(feeder(made, life).run())
            await many(made)
            assert life.hit
            newer = group.create_task(feeder(made).run())
            await made.quiet()
            before = shown(made)
            life.awake.set()
            await made.quiet()
            assert shown(made) == before == wanted(made)
            await many(made)
            assert shown(made) == wanted(made)
            older.cancel()
            newer.cancel()


async def test_others_stand_by() -> None:
    """One is at work; when it is stopped the next one is, and goes on where it was."""
    async with world(roles=ROLES) as made:
        await open_thread(made)
        both = [Feeding(), Feeding()]
        lives = [Lifeline(), Lifeline()]
        async with asyncio.TaskGroup() as group:
            running = []
            for life, feeding in zip(lives, both, strict=True):
                lease = MemoryLease(made.streams, "feeder", life)
                running.append(group.create_task(feeder(made, life, lease=lease, feeding=feeding).run()))
                await made.quiet()
            await many(made)
            assert [each.holds for each in both] == [True, False]
            running[0].cancel()
            await many(made)
            assert [each.holds for each in both] == [False, True]
            assert sum(each.frames for each in both) == len(shown(made)) == len(wanted(made))
            assert both[1].position == made.facts(EVENTS, "evt.message.>")[-1].position
            running[1].cancel()
        assert shown(made) == wanted(made)


async def test_what_was_cancelled_is_not_shown() -> None:
    """Neither when it was to be due, nor before."""
    async with world(roles=(*ROLES, "feeder")) as made:
        await open_thread(made)
        accepted = await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
        await made.quiet()
        assert accepted.message is not None
        await made.do(Cancel(message=accepted.message))
        await made.rest()
        assert shown(made) == []


async def one_message_fed(made: World) -> Recorded:
    """A message whose frame is there, and the one after it, which nobody has shown yet; the event of the first."""
    await open_thread(made)
    await publish(made)
    made.start("feeder")
    await made.rest()
    await made.stop(made.running[-1])
    await publish(made)
    assert len(shown(made)) == 1
    return next(fact for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Accepted))


async def test_without_its_last_frame_it_goes_on_from_the_note() -> None:
    """The frames were purged, or have aged out: what the note says is shown is not shown again, what follows is."""
    async with world(roles=()) as made:
        first = await one_message_fed(made)
        made.streams.noted = Checkpoint(EVENTS, first.position, made.streams.epochs[EVENTS], first.digest)
        made.streams.forget(FEED)
        made.start("feeder")
        await made.rest()
        assert shown(made) == wanted(made, after=first.position)


async def test_without_frames_and_without_a_note_it_shows_what_would_still_be_kept() -> None:
    """What FEED would have forgotten by now is no news to anybody."""
    async with world(roles=()) as made:
        await open_thread(made)
        await publish(made)
        made.clock.advance(3600)
        await publish(made)
        made.clock.advance(1)
        feed = MemoryFeedLog(made.streams)
        feed.kept = timedelta(minutes=10)
        running = asyncio.create_task(feeder(made, feed=feed).run())
        await made.quiet()
        running.cancel()
        assert shown(made) == wanted(made)[1:]


async def test_the_later_of_frame_and_note_counts() -> None:
    """A note behind the last frame is from before it; one ahead of it is of messages that show nothing."""
    async with world(roles=()) as made:
        first = await one_message_fed(made)
        epoch = made.streams.epochs[EVENTS]
        for position in (0, first.position):
            made.streams.noted = Checkpoint(EVENTS, position, epoch)
            made.start("feeder")
            await made.rest()
            await made.stop(made.running[-1])
            assert shown(made) == wanted(made)
        end = made.facts(EVENTS, "evt.message.>")[-1]
        made.streams.noted = Checkpoint(EVENTS, end.position, epoch, end.digest)
        made.start("feeder")
        await made.rest()
        assert shown(made) == wanted(made)


async def test_it_notes_what_it_has_dealt_with() -> None:
    """With the digest, for who goes on from there; also what shows nothing."""
    async with world(roles=()) as made:
        await made.do(Multicast(uids=UIDS, draft=Draft(text="by mail", channels=("email",))))
        running = asyncio.create_task(feeder(made, note_every_s=0.001).run())
        async with asyncio.timeout(5):
            while made.streams.noted is None:
                await asyncio.sleep(0.001)
        running.cancel()
        [accepted] = [fact for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Accepted)]
        epoch = made.streams.epochs[EVENTS]
        assert made.streams.noted == Checkpoint(EVENTS, accepted.position, epoch, accepted.digest)


@pytest.mark.parametrize("last", [0, 3, len(UIDS) - 1])
async def test_it_goes_on_behind_the_frames_of_an_older_version(last: int) -> None:
    """They say which message they show, and not where it is on the log: the log is asked."""
    async with world(roles=()) as made:
        accepted = await made.do(Multicast(uids=UIDS, draft=Draft(text="many")))
        await open_thread(made)
        await publish(made)
        subjects = [subject for subject, *_ in wanted(made)]
        frames = [
            Frame(subject=subject, body=b"{}", message=accepted.message.hex)
            for subject in subjects[: last + 1]
        ]
        await append_frames(MemoryFeedLog(made.streams), *frames)
        made.start("feeder")
        await made.rest()
        assert [subject for subject, *_ in shown(made)] == subjects
        assert shown(made)[last + 1 :] == wanted(made)[last + 1 :]


async def test_anothers_frame_is_passed_over() -> None:
    """One that says nothing of a message, put there by hand: the note says where to go on; nothing is left out."""
    async with world(roles=("feeder",)) as made:
        await open_thread(made)
        made.streams.noted = Checkpoint(EVENTS, 0, made.streams.epochs[EVENTS])
        await append_frames(
            MemoryFeedLog(made.streams), Frame(subject="feed.thread.x", body=b"{}", message="by hand")
        )
        await publish(made)
        await made.rest()
        assert shown(made)[1:] == wanted(made)


async def test_what_cannot_be_shown_is_put_aside_and_the_others_go_on() -> None:
    """What can't be read, and what no append takes; each with its reason."""

    class Narrow(MemoryFeedLog):
        def assert_fits(self, body: bytes) -> None:
            if b"long" in body:
                raise TooLarge("more than fits")

    async with world(roles=()) as made:
        await open_thread(made)
        await publish(made, text="one")
        made.streams.append(EVENTS, [Entry("evt.message.00.aa", b"Topic: message.accepted.v2\r\n", b"{")])
        await publish(made, text="long")
        await publish(made, text="two")
        running = asyncio.create_task(feeder(made, feed=Narrow(made.streams)).run())
        await made.quiet()
        running.cancel()
        first, _, last = wanted_texts(made)
        assert shown(made) == [first, last]
        assert sorted(aside.source for aside in made.streams.aside.values()) == ["feeder", "feeder"]
        assert any("more than fits" in aside.reason for aside in made.streams.aside.values())


def wanted_texts(made: World) -> list[tuple[str, int, int]]:
    subject = thread_subject(IDS.thread(REALM, "news"))
    positions = [stored.sequence for stored in _readable(made)]
    return [(subject, position, 0) for position in positions]


def _readable(made: World) -> list[Stored]:
    return [each for each in made.streams.on_subject(EVENTS, "evt.message.>") if each.data != b"{"]


async def test_another_log_stops_it() -> None:
    """The log has lost its tail, or holds something else, or is in another life than the note: it shows nothing."""
    async with world(roles=()) as made:
        first = await one_message_fed(made)
        before = shown(made)
        epoch = made.streams.epochs[EVENTS]

        async def stops() -> None:
            with pytest.raises(ExceptionGroup) as raised:
                await feeder(made).run()
            assert raised.group_contains(LogMismatch)
            assert shown(made) == before

        made.streams.noted = Checkpoint(EVENTS, first.position, "another", first.digest)
        await stops()
        made.streams.noted = Checkpoint(EVENTS, 999, epoch, "digest")
        await stops()
        made.streams.noted = None
        message = first.subject.rpartition(".")[2]
        for position in (first.position - 1, 999):
            await append_frames(
                MemoryFeedLog(made.streams),
                Frame(subject="feed.thread.x", body=b"{}", message=message, position=position, index=0),
            )
            before = shown(made)
            await stops()
