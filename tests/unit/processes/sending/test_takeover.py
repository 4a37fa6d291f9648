"""Two gateways and one slice: whoever falls asleep or dies, the log says that it may have been sent twice."""

from __future__ import annotations

import asyncio

from domain.deliveries.delivery import OutcomeSlice
from domain.deliveries.outcome import Accepted, Rejected
from domain.recorded import DELIVERY
from projections import deliveries
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import open_thread, publish, subscribe
from tests.memory.world import REALM, world

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


async def test_two_lost_tries_are_two_though_the_third_is_refused() -> None:
    """Two gateways die with the slice in flight, and the provider refuses a third: it may have been sent twice."""
    async with world(slice_size=10) as made:
        made.provider("apns").script = lambda _, times: Accepted("ok") if times < 2 else Rejected("payload")
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        accepted = await publish(made)
        for _ in range(2):
            dying = made.start("gateway-apns", Lifeline(Fault.DEATH, 2))
            async with asyncio.timeout(5):
                await dying.connection.life.dead.wait()
            await made.stop(dying)
            made.clock.advance(100)
        made.start("gateway-apns")
        await made.rest()
        assert set(made.provider("apns").taken.values()) == {2}
        assert accepted.message is not None
        rows, _ = await deliveries.of_message(made.models, REALM, accepted.message, cursor=None, limit=10)
        pushes = [(row["status"], row["repeated"]) for row in rows if row["channel"] == "apns"]
        assert pushes == [("rejected", True)] * len(PEOPLE)
        await Ledger(made).assert_balanced()


async def test_two_lost_tries_are_two_though_the_first_of_three_comes_first() -> None:
    """A gateway sleeps, was refused, and two that repeat its slice die, whose tries were taken: its outcome says so."""
    async with world(slice_size=10) as made:
        made.provider("apns").script = lambda _, times: Accepted("ok") if times else Rejected("payload")
        sleeper = Lifeline(Fault.PAUSE, 2)
        made.start("gateway-apns", sleeper)
        await made.quiet()
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        accepted = await publish(made)
        await made.quiet()
        for _ in range(2):
            dying = made.start("gateway-apns", Lifeline(Fault.DEATH, 2))
            made.clock.advance(100)
            async with asyncio.timeout(5):
                await dying.connection.life.dead.wait()
            await made.stop(dying)
        sleeper.awake.set()
        await made.rest()
        assert set(made.provider("apns").taken.values()) == {2}
        assert accepted.message is not None
        rows, _ = await deliveries.of_message(made.models, REALM, accepted.message, cursor=None, limit=10)
        pushes = [(row["status"], row["repeated"]) for row in rows if row["channel"] == "apns"]
        assert pushes == [("rejected", True)] * len(PEOPLE)
        await Ledger(made).assert_balanced()


async def test_a_try_before_and_one_after_are_two_though_the_one_between_is_refused() -> None:
    """A gateway dies, the next one sleeps, was refused, and a third one dies: the second one's outcome says so."""
    async with world(slice_size=10) as made:
        made.provider("apns").script = lambda _, times: Rejected("payload") if times == 1 else Accepted("ok")
        await open_thread(made)
        await subscribe(made, *PEOPLE, phone=True)
        await publish(made)
        sleeper = Lifeline(Fault.PAUSE, 2)
        for life in (Lifeline(Fault.DEATH, 2), sleeper, Lifeline(Fault.DEATH, 2)):
            each = made.start("gateway-apns", life)
            async with asyncio.timeout(5):
                while not life.hit:
                    await asyncio.sleep(0)
            if life is not sleeper:
                await made.stop(each)
            made.clock.advance(100)
        sleeper.awake.set()
        await made.rest()
        assert set(made.provider("apns").taken.values()) == {2}
        await Ledger(made).assert_balanced()
