"""Two gateways and one slice: whoever falls asleep or dies, the log says that it may have been sent twice."""

from __future__ import annotations

import asyncio

from domain.delivery import OutcomeSlice
from domain.recorded import DELIVERY
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import open_thread, publish, subscribe
from tests.memory.world import world

PEOPLE = ("ann", "bob", "cem")


async def test_a_repeat_is_marked_even_if_it_was_never_recorded() -> None:
    """A gateway sleeps with its slice in flight, a second one repeats it and dies: the first one's outcome says so."""
    async with world(slice_size=10) as made:
        sleeper = Lifeline(Fault.PAUSE, 1)
        made.start("gateway-apns", sleeper)
        await made.quiet()
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        await publish(made)
        await made.quiet()
        second = made.start("gateway-apns", Lifeline(Fault.DEATH, 2))
        made.clock.advance(13)
        async with asyncio.timeout(5):
            await second.connection.life.dead.wait()
        await made.stop(second)
        sleeper.awake.set()
        await made.rest()
        assert set(made.provider("apns").sends().values()) == {2}
        slices = [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, OutcomeSlice)]
        [ended] = [each for each in slices if each.results]
        assert (ended.repeated, ended.late) == (True, False)
        await Ledger(made).assert_balanced()
