"""Messages for later: started once when they fall due, never when they were cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from commands.messaging import Cancel, FallDue
from commands.threads import ChangeThread, CloseThread
from domain.context import Caller
from domain.deliveries.delivery import AudiencePage
from domain.errors import Conflict
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from domain.thread import Settings
from tests.memory.ledger import Ledger
from tests.memory.people import open_thread, publish, subscribe
from tests.memory.ports.streams import Planned
from tests.memory.world import IDS, REALM, world


async def test_a_schedule_that_fires_twice_starts_one_message() -> None:
    """And so does one that fires after the message was started by hand."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        for by_hand in (False, True):
            accepted = await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
            await made.quiet()
            [(id, planned)] = made.streams.schedules.items()
            if by_hand:
                await made.do(FallDue(message=accepted.message))  # type: ignore[arg-type]
            await made.rest()
            made.streams.schedule(id, planned)
            await made.rest()
        assert len(made.bodies(EVENTS, Message.Due)) == 2
        assert sorted(made.provider("apns").sends().values()) == [1, 1]
        await Ledger(made).assert_balanced()


async def test_a_cancelled_message_is_never_sent() -> None:
    """Its schedule is taken back; should it fire all the same, nothing comes of it."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        accepted = await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
        await made.quiet()
        [(id, planned)] = made.streams.schedules.items()
        assert accepted.message is not None
        await made.do(Cancel(message=accepted.message))
        await made.quiet()
        assert made.streams.schedules == {}
        made.streams.schedule(id, planned)
        await made.rest()
        assert made.provider("apns").sends() == {}
        assert made.bodies(DELIVERY, AudiencePage) == []


@pytest.mark.parametrize(
    "ends", [CloseThread(tid="news"), ChangeThread(tid="news", settings=Settings(channels=()))]
)
async def test_a_thread_that_is_closed_or_switched_off_sends_nothing_of_before(ends: msgspec.Struct) -> None:
    """Its messages are cancelled when their time comes, and can't be started by hand; what is due goes out."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        accepted = await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
        begun = await publish(made, scheduled_at=made.clock.now + timedelta(minutes=1))
        assert accepted.message is not None
        assert begun.message is not None
        await made.until(lambda: len(made.bodies(EVENTS, Message.Settled)) == 1)
        await made.do(ends)
        ops = Caller("ops", roles=frozenset({"admin"}))
        await made.do(FallDue(message=begun.message), caller=ops)
        with pytest.raises(Conflict):
            await made.do(FallDue(message=accepted.message), caller=ops)
        await made.rest()
        assert list(made.provider("apns").sends().values()) == [1]
        [cancelled] = made.bodies(EVENTS, Message.Cancelled)
        assert cancelled.originator_id == accepted.message
        await Ledger(made).assert_balanced()


async def test_cancelling_in_the_last_moment_has_one_answer() -> None:
    """Cancel while the schedule fires: cancelled and not sent, or refused and sent."""
    for order in (False, True):
        async with world("apns") as made:
            await open_thread(made)
            await subscribe(made, "ann", phone=True)
            accepted = await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
            await made.quiet()
            assert accepted.message is not None
            made.clock.advance(3600)
            if order:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            try:
                await made.do(Cancel(message=accepted.message))
                cancelled = True
            except Conflict:
                cancelled = False
            await made.rest()
            assert bool(made.provider("apns").sends()) != cancelled


async def test_a_due_schedule_without_its_message_is_put_aside() -> None:
    """Nothing can be started; the schedule is in TRIAGE with the reason."""
    async with world() as made:
        target = f"due.message.{REALM}.{IDS.message(REALM, 'never').hex}"
        made.streams.schedule("x", Planned(made.clock.now, target, b""))
        await made.rest()
        [aside] = made.streams.aside.values()
        assert (aside.source, aside.subject) == ("due-messages", target)


async def test_what_fell_due_while_nobody_worked_is_sent_all_the_same() -> None:
    """After a standstill so long that the server has forgotten what was due: started late, once, with all its time to
    live; what is cancelled, or not due yet, stays as it is.
    """
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        soon, later = made.clock.now + timedelta(hours=1), made.clock.now + timedelta(days=20)
        lost = await publish(made, scheduled_at=soon, ttl_s=600)
        cancelled = await publish(made, scheduled_at=soon)
        await publish(made, scheduled_at=later)
        assert cancelled.message is not None
        await made.do(Cancel(message=cancelled.message))
        await made.quiet()
        made.streams.schedules = {
            id: planned for id, planned in made.streams.schedules.items() if planned.due > soon
        }
        made.clock.advance(9 * 86_400)
        for _ in range(2):
            made.start("overdue")
        await made.quiet()
        due = made.bodies(EVENTS, Message.Due)
        assert [(one.originator_id, one.expires_at) for one in due] == [
            (lost.message, made.clock.now + timedelta(seconds=600))
        ]
        assert list(made.provider("apns").sends().values()) == [1]
