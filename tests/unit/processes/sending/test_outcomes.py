"""What outcomes lead to: further tries, and how a delivery ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

from domain.deliveries.delivery import Attempt, Dispatch, OutcomeSlice
from domain.deliveries.outcome import (
    FOUND,
    Accepted,
    Expired,
    Outcome,
    Rejected,
    Retry,
    Unknown,
)
from domain.deliveries.retry import TRIES_MAX
from domain.recorded import DELIVERY
from gateways.port import Target
from processes.sending.feedback import EXHAUSTED, PERHAPS_SENT, Feedback
from projections import deliveries
from tests.memory.gateway import first
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import open_thread, publish, subscribe, take_token
from tests.memory.world import IDS, REALM, ROLES, World, world


def results(made: World) -> list[Outcome]:
    slices = made.bodies(DELIVERY, OutcomeSlice)
    return [result.outcome for each in slices for result in each.results]


async def test_a_retry_is_sent_again_to_those_who_need_it_alone() -> None:
    """After a Retry the next dispatch names only the recipients that were not taken; then all is accepted."""
    async with world("apns", slice_size=10) as made:
        made.provider("apns").script = lambda target, times: (
            Retry("busy") if target.address == "t-bob" and not times else Accepted("ok")
        )
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", phone=True)
        await publish(made)
        await made.rest()
        tries = made.bodies(DELIVERY, Dispatch)
        assert [(d.attempt, len(d.recipients)) for d in tries] == [(1, 3), (2, 1)]
        assert sorted(made.provider("apns").sends().values()) == [1, 1, 2]
        await Ledger(made).assert_balanced()


async def test_a_wish_of_the_provider_is_the_least_that_is_waited() -> None:
    """A Retry with a time of the provider's own is not tried again before it."""
    async with world("apns") as made:
        made.provider("apns").script = first(Retry("quota", after_s=600.0))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        began = made.clock.now
        await made.until(lambda: results(made)[-1:] == [Accepted("ok")])
        assert made.clock.now - began >= timedelta(seconds=600)


async def test_nobody_waits_for_a_wish_about_somebody_else() -> None:
    """One message, one slice: whoever may come back in a second does, while another waits and a third expires."""
    async with world("apns", slice_size=10) as made:
        asked_s = {"t-ann": 83.0, "t-bob": 1.0, "t-cem": 3600.0}
        sent_at: dict[str, list[datetime]] = {address: [] for address in asked_s}

        def says(target: Target, times: int) -> Outcome:
            sent_at[target.address].append(made.clock.now)
            return Accepted("ok") if times else Retry("quota", after_s=asked_s[target.address])

        made.provider("apns").script = says
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", phone=True)
        accepted = await publish(made, ttl_s=100, channels=("apns",))
        began = made.clock.now
        await made.rest()
        waited_s = {
            address: [(at - began).total_seconds() for at in sends[1:]] for address, sends in sent_at.items()
        }
        assert [83 <= s < 100 for s in waited_s["t-ann"]] == [True]
        assert [1 <= s < 2 for s in waited_s["t-bob"]] == [True]
        assert waited_s["t-cem"] == []
        assert accepted.message is not None
        totals = await deliveries.totals(made.models, REALM, accepted.message)
        assert (totals["accepted"], totals["expired"]) == (2, 1)
        await Ledger(made).assert_balanced()


async def test_groups_of_groups_are_each_sent_once() -> None:
    """Every try splits the slice anew: all names differ, so each address gets as many tries as it needs, no more."""
    async with world("apns", slice_size=4) as made:
        people = [f"p{number}" for number in range(12)]

        def says(target: Target, times: int) -> Outcome:
            number = int(target.address.removeprefix("t-p"))
            return (
                Retry("busy", after_s=10.0 ** (number // 3**times % 3 + 1)) if times < 3 else Accepted("ok")
            )

        made.provider("apns").script = says
        await open_thread(made)
        await subscribe(made, *people, phone=True)
        await publish(made)
        await made.rest()
        assert list(made.provider("apns").sends().values()) == [4] * len(people)
        await Ledger(made).assert_balanced()


async def test_what_never_succeeds_ends_rejected_and_is_put_aside() -> None:
    """After the last try the delivery is rejected as exhausted, and the work is in TRIAGE with its reason."""
    async with world("apns") as made:
        made.provider("apns").script = lambda target, times: Retry("busy")
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.rest()
        assert results(made) == [Retry("busy")] * TRIES_MAX + [Rejected(EXHAUSTED)]
        assert [each.reason for each in made.streams.aside.values()] == [EXHAUSTED]
        await Ledger(made).assert_balanced()


async def test_a_retry_beyond_the_time_to_live_expires_at_once() -> None:
    """When the next try would come too late, the delivery ends as expired instead of waiting for it."""
    async with world("apns") as made:
        made.provider("apns").script = first(Retry("quota", after_s=120.0))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made, ttl_s=60)
        await made.quiet()
        assert results(made) == [Retry("quota", after_s=120.0), Expired()]
        await made.rest()
        await Ledger(made).assert_balanced()


async def test_only_after_a_lost_answer_is_the_provider_asked() -> None:
    """A try says for each address since when an earlier one may have been sent: a refused one never was."""
    async with world("apns", slice_size=10) as made:
        said: dict[str, list[datetime | None]] = {"t-ann": [], "t-bob": []}
        outcomes: dict[str, list[Outcome]] = {
            "t-ann": [Retry("busy"), Retry("busy"), Accepted("ok")],
            "t-bob": [Unknown("timeout"), Retry("busy"), Accepted("ok")],
        }

        def says(target: Target, times: int) -> Outcome:
            said[target.address].append(target.repeats_since)
            return outcomes[target.address][times]

        made.provider("apns").script = says
        await open_thread(made)
        await subscribe(made, "ann", "bob", phone=True)
        await publish(made)
        await made.rest()
        [began, *_] = [f.body.started_at for f in made.facts(DELIVERY) if isinstance(f.body, Attempt)]
        assert said == {"t-ann": [None] * 3, "t-bob": [None, began, began]}


async def test_what_was_perhaps_sent_twice_is_marked_and_nothing_else() -> None:
    """One dispatch, four people: a lost answer and a second send; one found, one refused, one sent once."""
    async with world("apns", slice_size=10) as made:
        outcomes: dict[str, list[Outcome]] = {
            "t-ann": [Unknown("timeout"), Retry("busy"), Accepted("ok")],
            "t-bob": [Unknown("timeout"), Accepted("ok", FOUND)],
            "t-cem": [Unknown("timeout"), Rejected("payload")],
            "t-dan": [Retry("busy"), Accepted("ok")],
        }
        made.provider("apns").script = lambda target, times: outcomes[target.address][times]
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", "dan", phone=True)
        accepted = await publish(made)
        await made.rest()
        assert accepted.message is not None
        rows, _ = await deliveries.of_message(made.models, REALM, accepted.message, cursor=None, limit=10)
        twice = [IDS.contact(REALM, "ann")]
        assert [row["contact"] for row in rows if row["repeated"]] == twice
        await Ledger(made).assert_balanced()


async def test_what_was_perhaps_sent_says_so_at_its_end() -> None:
    """Expired after a lost answer is not the same as never sent: the record tells the two apart."""
    async with world("apns") as made:
        made.provider("apns").script = first(Unknown("timeout"))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made, ttl_s=1)
        await made.rest()
        assert results(made) == [Unknown("timeout"), Expired(detail=PERHAPS_SENT)]
        await Ledger(made).assert_balanced()


async def test_an_outcome_looked_at_twice_leads_to_one_next_step() -> None:
    """The next try is due at the same moment each time, so that it can't be both scheduled and called off."""
    async with world("apns", roles=[role for role in ROLES if role not in {"feedback", "retrier"}]) as made:
        made.provider("apns").script = first(Retry("busy"))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.quiet()
        feedback = Feedback(log=made.own.log, bus=made.own.bus, clock=made.clock)
        [fact] = [fact for fact in made.facts(DELIVERY) if isinstance(fact.body, OutcomeSlice)]
        dues = set()
        for _ in range(3):
            await feedback.handle(SimpleNamespace(fact=fact))
            dues.add(made.streams.next_due())
        assert len(dues) == 1


async def test_an_unknown_is_repeated_under_the_same_id() -> None:
    """What may have been sent is sent again, and the provider can tell that it is the same."""
    async with world("apns") as made:
        made.provider("apns").script = first(Unknown("timeout"))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.rest()
        assert made.provider("apns").sends() == {next(iter(made.provider("apns").sends())): 2}
        await Ledger(made).assert_balanced()


async def test_a_due_try_that_fires_twice_is_written_once() -> None:
    """Ownership changed between the two firings: still there is one record of what became of everybody."""
    async with world("apns", slice_size=10) as made:
        made.provider("apns").script = first(Retry("busy"))
        await open_thread(made)
        await subscribe(made, "ann", "bob", phone=True)
        await publish(made)
        await made.quiet()
        [(id, planned)] = made.streams.schedules.items()
        await made.until(lambda: not made.streams.schedules)
        await take_token(made, "t-bob", by="dan")
        made.streams.schedule(id, planned)
        await made.rest()
        await Ledger(made).assert_balanced()
        assert sum(1 for f in made.facts(DELIVERY) if isinstance(f.body, Dispatch)) == 2


async def test_a_try_whose_key_is_destroyed_expires() -> None:
    """The key of the day is gone: what was not sent ends as expired, with the reason."""
    async with world("apns") as made:
        made.provider("apns").script = first(Retry("busy"))
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.quiet()
        await made.own.keys.destroy(f"day.{made.clock.now:%Y-%m-%d}")
        await made.rest()
        assert results(made) == [Retry("busy"), Expired("key-destroyed")]
        await Ledger(made).assert_balanced()


async def test_a_repeat_after_a_change_of_slices_is_marked_as_far_as_the_attempt_went() -> None:
    """A gateway that died with a large slice in flight: its successor marks all of it, in small slices."""
    async with world(slice_size=4) as made:
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", "dan", "eva", phone=True)
        made.start("gateway-apns", Lifeline(Fault.DEATH, 2))
        await made.quiet()
        made.slice_size = 2
        await publish(made)
        await made.rest()
        slices = made.bodies(DELIVERY, OutcomeSlice)
        known = [each for each in slices if each.results]
        assert [(each.first, each.repeated) for each in known] == [(0, True), (2, True), (4, False)]
        await Ledger(made).assert_balanced()
