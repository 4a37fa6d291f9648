"""Tries whose schedule is gone are found, and made after all."""

from __future__ import annotations

from datetime import timedelta

from domain.deliveries.outcome import Accepted, Outcome, Retry
from gateways.port import Target
from processes.sending.feedback import Feedback
from processes.sending.lost_tries import NEW, LostTry, lost_tries
from tests.memory.ledger import Ledger
from tests.memory.people import open_thread, publish, subscribe
from tests.memory.world import World, world


def busy_at_first(target: Target, times: int) -> Outcome:
    return Accepted("ok") if times else Retry("busy", after_s=30.0)


async def found(made: World) -> list[LostTry]:
    async def is_planned(id: str) -> bool:
        return id in made.streams.schedules

    now = made.clock.now
    return [lost async for lost in lost_tries(made.own.log, made.models, is_planned, now=now)]


async def test_a_try_that_lost_its_schedule_is_planned_anew() -> None:
    """Not while it is planned, nor while its outcome is new; planned anew, it is made, once, and nothing is left."""
    async with world("apns") as made:
        made.provider("apns").script = busy_at_first
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", phone=True)
        await publish(made)
        await made.quiet()
        assert await found(made) == []
        made.streams.schedules.clear()
        assert await found(made) == []
        made.clock.advance((NEW + timedelta(seconds=1)).total_seconds())
        lost = await found(made)
        assert sorted(len(each.ended.results) for each in lost) == [1, 2]
        feedback = Feedback(log=made.own.log, bus=made.own.bus, clock=made.clock)
        for _ in range(2):
            for each in lost:
                await feedback.plan(each.dispatch, each.ended)
        await made.rest()
        assert sorted(made.provider("apns").sends().values()) == [2, 2, 2]
        assert await found(made) == []
        await Ledger(made).assert_balanced()
