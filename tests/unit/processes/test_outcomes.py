"""What outcomes lead to: retries, terminal states, dead addresses, unwanted channels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest

from commands.clients import FindAddressGone
from commands.contacts import PutContact
from domain.client import Client
from domain.contact import STRIKES_MAX, Contact
from domain.context import Context
from domain.delivery import Attempt, Dispatch, OutcomeSlice
from domain.outcome import (
    Accepted,
    Expired,
    Gone,
    Outcome,
    Rejected,
    Retry,
    Suppressed,
    Unknown,
)
from domain.recorded import DELIVERY, EVENTS
from domain.retry import TRIES_MAX
from gateways.port import Target
from processes.feedback import EXHAUSTED, PERHAPS_SENT, Feedback
from tests.memory.gateway import Script
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, open_thread, publish, subscribe
from tests.memory.world import IDS, REALM, ROLES, World, world


def first(*outcomes: Outcome) -> Script:
    """These for an address's first sends, in turn, then Accepted."""

    def says(target: Target, times: int) -> Outcome:
        return outcomes[times] if times < len(outcomes) else Accepted("ok")

    return says


def results(made: World) -> list[Outcome]:
    slices = [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, OutcomeSlice)]
    return [result.outcome for each in slices for result in each.results]


def client_events(made: World, kind: type[Client.Event]) -> Sequence[Client.Event]:
    return [fact.body for fact in made.facts(EVENTS) if isinstance(fact.body, kind)]


async def client(made: World, token: str, channel: str = "apns") -> Client:
    id = IDS.client(REALM, "msgxc", IDS.token(REALM, channel, token).hex)
    found = await made.own.store.load(Client, id, fresh=True)
    assert found is not None
    return found


async def contact(made: World, uid: str) -> Contact:
    found = await made.own.store.load(Contact, IDS.contact(REALM, uid), fresh=True)
    assert found is not None
    return found


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
        tries = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, Dispatch)]
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


@pytest.mark.parametrize("fault", [None, Fault.LOST_WORD])
async def test_a_doubtful_goodbye_needs_a_second_one(fault: Fault | None) -> None:
    """With `confirm` the first Gone quarantines, the next message's retires: the same answer handled twice does not."""
    roles = [role for role in ROLES if role != "feedback"]
    async with world("apns", roles=roles) as made:
        made.start("feedback", Lifeline(fault, 2))
        made.provider("apns").script = lambda target, times: Gone("unregistered", confirm=True)
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.rest()
        assert (await client(made, "t-ann")).quarantined_at is not None
        assert client_events(made, Client.AddressRetired) == []
        made.clock.advance(1)
        await publish(made)
        await made.rest()
        assert (await client(made, "t-ann")).token is None


async def test_a_doubted_address_is_quarantined_and_kept() -> None:
    """An address that may belong elsewhere is marked once, and never removed for that."""
    async with world("apns") as made:
        made.provider("apns").script = lambda target, times: Rejected("BadDeviceToken", quarantine=True)
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        for _ in range(3):
            await publish(made)
            await made.rest()
            made.clock.advance(1)
        assert len(client_events(made, Client.AddressQuarantined)) == 1
        assert (await client(made, "t-ann")).address == "t-ann"


async def test_gone_retires_only_what_was_registered_before() -> None:
    """A token that was registered after the provider's invalidation time stays."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        registered = made.clock.now
        made.provider("apns").script = first(
            Gone("unregistered", since=registered - timedelta(seconds=1)),
            Gone("unregistered", since=registered + timedelta(seconds=1)),
        )
        made.clock.advance(5)
        await publish(made)
        await made.rest()
        assert (await client(made, "t-ann")).address == "t-ann"
        await made.do(_gone(made, since_s=0))
        assert (await client(made, "t-ann")).address is None


def _gone(made: World, *, since_s: float) -> FindAddressGone:
    token = IDS.token(REALM, "apns", "t-ann")
    return FindAddressGone(
        client=IDS.client(REALM, "msgxc", token.hex),
        token=token,
        code="unregistered",
        since=made.clock.now - timedelta(seconds=since_s),
    )


async def test_a_dead_mail_address_is_retired_unless_it_was_set_since() -> None:
    """A contact's own address goes when the provider says so, but not one that was set after the dispatch."""
    async with world("email") as made:
        made.provider("email").script = lambda target, times: Gone("no-mailbox")
        await open_thread(made)
        await subscribe(made, "ann", "bob", mail=True)
        made.clock.advance(1)
        gateway = next(each for each in made.running if each.role == "gateway-email")
        await made.stop(gateway)
        await publish(made)
        await made.quiet()
        made.clock.advance(1)
        await made.do(PutContact(uid="bob", email="bob@new.example.org"))
        made.start("gateway-email")
        await made.rest()
        assert (await contact(made, "ann")).addresses == {}
        assert (await contact(made, "bob")).addresses == {"email": "bob@new.example.org"}


async def test_a_dead_mail_address_of_a_scheduled_message_is_retired() -> None:
    """An address set after a message was accepted, and before it fell due, is the one that was found dead."""
    async with world("email") as made:
        made.provider("email").script = lambda target, times: Gone("no-mailbox")
        await open_thread(made)
        await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
        made.clock.advance(60)
        await subscribe(made, "ann", mail=True)
        await made.rest()
        assert (await contact(made, "ann")).addresses == {}


async def test_a_mailbox_that_is_said_not_to_be_there_is_doubted_first() -> None:
    """Mail servers have said so by mistake: the third message that it is said of ends the address, till another."""
    async with world("email") as made:
        made.provider("email").script = lambda target, times: Gone("550", confirm=True)
        await open_thread(made)
        await subscribe(made, "ann", mail=True)
        for strikes in range(1, STRIKES_MAX + 1):
            made.clock.advance(1)
            assert (await contact(made, "ann")).suppressed == {}
            await publish(made)
            await made.rest()
            assert len((await contact(made, "ann")).strikes["email"]) == strikes
        assert (await contact(made, "ann")).suppressed == {"email": "550"}
        await made.do(PutContact(uid="ann", email="ann@new.example.org"))
        assert (await contact(made, "ann")).suppressed == {}


async def test_opting_out_suppresses_the_channel() -> None:
    """Suppressed by the provider: the contact's channel is left out from then on, with the reason."""
    async with world("email") as made:
        made.provider("email").script = first(Suppressed("unsubscribed"))
        await open_thread(made)
        await subscribe(made, "ann", mail=True)
        await publish(made)
        await made.rest()
        await publish(made)
        await made.rest()
        assert list(made.provider("email").sends().values()) == [1]
        assert (await contact(made, "ann")).suppressed == {"email": "unsubscribed"}


async def test_a_token_that_moved_ends_the_old_delivery_and_teaches_nothing() -> None:
    """While a try waits, another contact's client registers the token: the old one gets nothing more, and nobody's
    channel is suppressed for it.
    """
    async with world("apns", slice_size=10) as made:
        made.provider("apns").script = first(Retry("busy"))
        await open_thread(made)
        await subscribe(made, "ann", "bob", "cem", phone=True)
        accepted = await publish(made)
        await made.quiet()
        await _steal_token(made, "t-bob", by="dan")
        await made.rest()
        assert accepted.message is not None
        ledger = Ledger(made)
        await ledger.assert_balanced()
        assert ledger.totals(accepted.message) == {"accepted": 5, "suppressed": 1}
        for uid in ("ann", "bob", "cem"):
            assert (await contact(made, uid)).suppressed == {}


async def _steal_token(made: World, token: str, *, by: str) -> None:
    """Another app's client registers the same push token."""
    found = IDS.token(REALM, "apns", token)
    thief = Client.register(
        id=IDS.client(REALM, "other-app", "phone"),
        at=made.clock.now,
        app="other-app",
        client_id="phone",
        contact=IDS.contact(REALM, by),
        uid=by,
        channel="apns",
        address=token,
        token=found,
        properties={},
    )
    await made.own.store.save(thief, context=Context(REALM, "test"))
    await made.quiet()


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
        await _steal_token(made, "t-bob", by="dan")
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
        slices = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, OutcomeSlice)]
        known = [each for each in slices if each.results]
        assert [(each.first, each.repeated) for each in known] == [(0, True), (2, True), (4, False)]
        await Ledger(made).assert_balanced()


def _ids(*uids: str) -> list[UUID]:
    return [IDS.contact(REALM, uid) for uid in uids]


async def test_the_same_device_enlisted_by_another_leaves_the_first() -> None:
    """A phone that changes hands gets its new owner's messages only."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await subscribe(made, "bob")
        await enlist(made, "bob", "t-ann")
        await publish(made)
        await made.rest()
        [dispatch] = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, Dispatch)]
        assert [to.contact for to in dispatch.recipients] == _ids("bob")
