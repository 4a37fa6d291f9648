"""A gateway process: slices fenced by attempts, halts that burn no tries, deadlines that end work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries.delivery import Attempt, Dispatch, OutcomeSlice
from domain.deliveries.outcome import Accepted, Expired, Outcome, Rejected, Retry, Unknown
from domain.deliveries.retry import HALTED
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS
from gateways.port import Notice, Target
from processes.sending.channel import FAULT, ChannelProcess, deadlines
from tests.memory.gateway import ScriptedGateway
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, open_thread, publish, subscribe
from tests.memory.site import eventually
from tests.memory.world import ROLES, World, world

PEOPLE = ("ann", "bob", "cem", "dan", "eva")


def slices(made: World) -> list[OutcomeSlice]:
    return [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, OutcomeSlice)]


def tries(made: World) -> list[str]:
    return [fact.body.round for fact in made.facts(DELIVERY) if isinstance(fact.body, Dispatch)]


async def ready(made: World) -> None:
    await open_thread(made)
    await subscribe(made, *PEOPLE, phone=True)


async def test_a_halted_channel_waits_and_burns_no_tries() -> None:
    """Refused credentials: the work waits until the channel may be tried again, and then it is the first try still."""
    async with world("apns") as made:
        made.provider("apns").halts_s = [60.0, 60.0, 60.0]
        await ready(made)
        began = made.clock.now
        await publish(made)
        await made.rest()
        halted = [r.outcome for s in slices(made) for r in s.results if isinstance(r.outcome, Retry)]
        assert halted
        assert all(outcome.code == HALTED for outcome in halted)
        assert set(tries(made)) <= {"1", "1h1", "1h2", "1h3"}
        assert made.clock.now - began >= timedelta(seconds=180)
        await Ledger(made).assert_balanced()
        assert set(made.provider("apns").sends().values()) == {1}


async def test_a_halted_channel_sends_nothing_until_it_may() -> None:
    """Also the slices of a page that is under way wait."""
    async with world("apns") as made:
        made.provider("apns").halts_s = [60.0]
        await ready(made)
        await publish(made)
        await made.quiet()
        assert len(slices(made)) == 1
        assert made.provider("apns").arrived == {}
        made.clock.advance(59)
        await made.quiet()
        assert made.provider("apns").arrived == {}
        made.clock.advance(1)
        await made.quiet()
        assert len(made.provider("apns").arrived) == 5


async def test_a_halt_is_shown() -> None:
    """`halted_until` says until when, and is empty again afterwards."""
    made = World()
    made.provider("apns").halts_s = [60.0]
    gateway = ScriptedGateway("apns", made.provider("apns"))
    process = ChannelProcess(
        log=made.own.log,
        keys=made.own.keys,
        gateway=gateway,
        name="g",
        clock=made.clock,
        apps=made.senders,
        sleep=made.sleep,
    )
    assert process.halted_until is None
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = [group.create_task(process.run())]
        running += [made.start(role).task for role in ROLES]
        await ready(made)
        await publish(made)
        await made.quiet()
        assert process.halted_until == made.clock.now + timedelta(seconds=60)
        await made.rest()
        assert process.halted_until is None
        running[0].cancel()
        for each in list(made.running):
            await made.stop(each)


class Stuck(ScriptedGateway):
    """A gateway that hangs in its first send, whatever its deadline."""

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        if not self._provider.arrived:
            self._provider.take(notice.message, targets[0])
            await asyncio.Event().wait()
        return await super().send(notice, targets, deadline_s=deadline_s)


async def test_a_gateway_that_hangs_is_cut_off() -> None:
    """Some time after its deadline (how long, says another test): what it sent is unknown, and is sent again."""
    async with world() as made:
        process = ChannelProcess(
            log=made.own.log,
            keys=made.own.keys,
            gateway=Stuck("apns", made.provider("apns")),
            name="stuck",
            clock=made.clock,
            apps=made.senders,
            deadline_s=0.05,
        )
        task = asyncio.create_task(process.run())
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made, channels=("apns",))
        await eventually(lambda: slices(made))
        await made.rest()
        outcomes = [result.outcome for each in slices(made) for result in each.results]
        assert outcomes == [Unknown(FAULT, "TimeoutError"), Accepted("provider-id")]
        await Ledger(made).assert_balanced()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@given(st.floats(-10, 100_000), st.floats(0.01, 60))
def test_no_deadline_is_passed_by_more_than_a_second(left_s: float, longest_s: float) -> None:
    """Neither a send's own nor the message's end; and a gateway has at least half of that second to end by itself."""
    deadline_s, cut_off_s = deadlines(left_s, longest_s)
    ends_s = min(left_s, longest_s) if left_s > 0 else longest_s
    assert cut_off_s <= ends_s + 1.0
    assert cut_off_s - deadline_s >= 0.5
    assert min(ends_s, longest_s) <= deadline_s <= longest_s


async def test_one_channel_in_trouble_does_not_concern_another() -> None:
    """While one is halted the other delivers."""
    async with world("apns", "email") as made:
        made.provider("apns").halts_s = [3600.0]
        await open_thread(made)
        await subscribe(made, "ann", phone=True, mail=True)
        await publish(made)
        await made.quiet()
        assert list(made.provider("email").sends().values()) == [1]
        assert made.provider("apns").sends() == {}


async def test_what_expired_while_the_channel_was_halted_is_not_sent() -> None:
    """Its time to live ended: it ends as expired, and the provider never sees it."""
    async with world("apns", slice_size=10) as made:
        made.provider("apns").halts_s = [3600.0]
        await ready(made)
        await publish(made, ttl_s=7200)
        await publish(made, ttl_s=60)
        await made.rest()
        await Ledger(made).assert_balanced()
        sent = sum(made.provider("apns").sends().values())
        assert sent in (len(PEOPLE), 0)
        expired = [r for s in slices(made) for r in s.results if isinstance(r.outcome, Expired)]
        assert len(expired) == 2 * len(PEOPLE) - sent


@pytest.mark.parametrize("scheduled", [False, True])
async def test_a_time_to_live_of_zero_means_one_try_at_once(scheduled: bool) -> None:
    """It is sent once, now or when it falls due; a Retry is its end."""
    async with world("apns") as made:
        made.provider("apns").script = lambda target, times: (
            Retry("busy") if target.address == "t-ann" else Accepted("ok")
        )
        await open_thread(made)
        await subscribe(made, "ann", "bob", phone=True)
        at = made.clock.now + timedelta(hours=1) if scheduled else None
        await publish(made, ttl_s=0, scheduled_at=at)
        await made.rest()
        assert list(made.provider("apns").sends().values()) == [1, 1]
        outcomes = [result.outcome for each in slices(made) for result in each.results]
        assert sorted(map(str, outcomes)) == sorted(map(str, [Retry("busy"), Accepted("ok"), Expired()]))
        await Ledger(made).assert_balanced()


async def test_what_is_late_for_its_time_to_live_is_not_sent() -> None:
    """A gateway that was away too long lets the dispatch expire."""
    async with world() as made:
        await ready(made)
        await publish(made, ttl_s=60)
        await made.quiet()
        made.clock.advance(61)
        made.start("gateway-apns")
        await made.rest()
        assert made.provider("apns").sends() == {}
        await Ledger(made).assert_balanced()


async def test_two_gateways_share_the_work_and_send_nothing_twice() -> None:
    """Many messages, two processes: every address gets each message once."""
    async with world() as made:
        await ready(made)
        for _ in range(8):
            await publish(made)
        await made.quiet()
        for _ in range(2):
            made.start("gateway-apns")
        await made.rest()
        await Ledger(made).assert_balanced()
        assert set(made.provider("apns").sends().values()) == {1}
        gateways = {f.body.gateway for f in made.facts(DELIVERY) if isinstance(f.body, Attempt)}
        assert gateways == {"gateway-apns-0", "gateway-apns-1"}


@pytest.mark.parametrize("step", range(1, 10))
async def test_a_gateway_that_was_fenced_off_changes_nothing(step: int) -> None:
    """Stopped at any step, taken over, and woken in the middle of the other's work: one outcome counts, the other
    says that it is late, and the work goes on.
    """
    async with world(slice_size=2) as made:
        sleeper, second = Lifeline(Fault.PAUSE, step), Lifeline(Fault.PAUSE, 2)
        made.start("gateway-apns", sleeper)
        await made.quiet()
        await ready(made)
        await publish(made)
        await made.quiet()
        made.start("gateway-apns", second)
        made.clock.advance(100)
        await made.quiet()
        sleeper.awake.set()
        await made.quiet()
        second.awake.set()
        await made.rest()
        await Ledger(made).assert_balanced()
        assert max(made.provider("apns").sends().values()) <= 2


@pytest.mark.parametrize(("busy", "rounds"), [((0, 1), ["1", "2"]), ((0,), ["1"])])
async def test_a_late_outcome_starts_no_tries_of_its_own(busy: tuple[int, ...], rounds: list[str]) -> None:
    """Both gateways were told to come back later: there is one next try. Only the late one was: there is none."""
    async with world(slice_size=10) as made:
        made.provider("apns").script = lambda target, times: (
            Retry("busy") if times in busy else Accepted("ok")
        )
        sleeper = Lifeline(Fault.PAUSE, 2)
        made.start("gateway-apns", sleeper)
        await made.quiet()
        await ready(made)
        await publish(made)
        await made.quiet()
        made.start("gateway-apns")
        made.clock.advance(13)
        await made.quiet()
        sleeper.awake.set()
        await made.rest()
        assert sum(1 for each in slices(made) if each.late) == 1
        assert tries(made) == rounds
        await Ledger(made).assert_balanced()


async def test_small_audiences_overtake_large_ones() -> None:
    """What is for a few is sent first."""
    async with world(roles=[role for role in ROLES if role != "dispatcher"]) as made:
        order: list[str] = []

        def note(target: Target, times: int) -> Outcome:
            order.append(target.address)
            return Accepted("ok")

        made.provider("apns").script = note
        await open_thread(made)
        await subscribe(made, *(f"many-{number}" for number in range(410)))
        for number in range(3):
            await enlist(made, f"many-{number}", f"bulk-{number}")
        await open_thread(made, "small")
        await subscribe(made, "ann", tid="small", phone=True)
        await publish(made)
        await publish(made, tid="small")
        made.start("dispatcher")
        await made.quiet()
        made.start("gateway-apns")
        await made.rest()
        assert order[0] == "t-ann"
        assert len(order) == 4


class Endless(ScriptedGateway):
    """Its provider takes one message to a few for as long as not all of the many have theirs."""

    many: int
    done: asyncio.Event

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        if targets[0].address == "t-ann":
            await self.done.wait()
        outcomes = await super().send(notice, targets, deadline_s=deadline_s)
        if len(self._provider.arrived) == self.many:
            self.done.set()
        return outcomes


async def test_small_audiences_do_not_hold_up_large_ones_for_ever() -> None:
    """Live pages that never leave the gateway: a broadcast goes on beside them, to its last page."""
    async with world(slice_size=100) as made:
        gateway = Endless("apns", made.provider("apns"), slice_size=100)
        gateway.many, gateway.done = 410, asyncio.Event()
        process = ChannelProcess(
            log=made.own.log,
            keys=made.own.keys,
            gateway=gateway,
            name="endless",
            clock=made.clock,
            apps=made.senders,
        )
        task = asyncio.create_task(process.run())
        await open_thread(made, "small")
        await subscribe(made, "ann", tid="small", phone=True)
        await publish(made, tid="small", channels=("apns",))
        await made.quiet()
        await open_thread(made)
        await subscribe(made, *(f"many-{number}" for number in range(410)), phone=True)
        await publish(made, channels=("apns",))
        async with asyncio.timeout(5):
            await gateway.done.wait()
        await made.rest()
        pages = {
            f.body.page for f in made.facts(DELIVERY) if isinstance(f.body, Dispatch) if f.body.lane == "bulk"
        }
        assert len(pages) > 1, "one page alone has no other to wait for"
        await Ledger(made).assert_balanced()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_gateways_own_fault_is_an_outcome_like_any_other() -> None:
    """Nobody knows what was sent: tried again, put aside in the end, settled, and it stops nobody else's."""
    async with world("apns", slice_size=1) as made:

        def broken(target: Target, times: int) -> Outcome:
            if target.address == "t-ann":
                raise RuntimeError("a bug")
            return Rejected("payload")

        made.provider("apns").script = broken
        for tid, uid in (("one", "ann"), ("two", "bob")):
            await open_thread(made, tid)
            await subscribe(made, uid, tid=tid, phone=True)
            await publish(made, tid=tid)
        await made.rest()
        outcomes = [r.outcome for s in slices(made) for r in s.results]
        assert Unknown(FAULT, "RuntimeError") in outcomes
        assert Rejected("payload") in outcomes
        assert len(made.streams.aside) == 1
        settled = [fact.body for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Settled)]
        assert len(settled) == 2
