"""What providers say of an address: when it is doubted, retired, suppressed or another's."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from commands.clients import FindAddressGone
from commands.contacts import PutContact
from domain.client import Client
from domain.contact import STRIKES_MAX, Contact
from domain.deliveries.delivery import Dispatch
from domain.deliveries.outcome import (
    Gone,
    Rejected,
    Retry,
    Suppressed,
)
from domain.recorded import DELIVERY, EVENTS
from tests.memory.gateway import first
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, open_thread, publish, subscribe, take_token
from tests.memory.world import IDS, REALM, ROLES, World, world


async def client(made: World, token: str, channel: str = "apns") -> Client:
    id = IDS.client(REALM, "msgxc", IDS.token(REALM, channel, token).hex)
    found = await made.own.store.load(Client, id, fresh=True)
    assert found is not None
    return found


async def contact(made: World, uid: str) -> Contact:
    found = await made.own.store.load(Contact, IDS.contact(REALM, uid), fresh=True)
    assert found is not None
    return found


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
        assert made.bodies(EVENTS, Client.AddressRetired) == []
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
        assert len(made.bodies(EVENTS, Client.AddressQuarantined)) == 1
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


@pytest.mark.parametrize(("channel", "says_when"), [("apns", True), ("webpush", False)])
async def test_a_device_that_registered_again_meanwhile_is_kept(channel: str, says_when: bool) -> None:
    """The same token, told again after the provider's time, or while its answer was on the way: it is alive."""
    async with world() as made:
        await open_thread(made)
        await subscribe(made, "ann")
        await enlist(made, "ann", "t-ann", channel=channel)
        made.clock.advance(5)
        found_dead = made.clock.now
        provider = made.provider(channel)
        provider.script = first(Gone("unregistered", since=found_dead if says_when else None))
        await publish(made)
        await made.quiet()
        answer = Lifeline(Fault.PAUSE, 2)
        made.start(f"gateway-{channel}", answer)
        await made.quiet()
        assert provider.arrived, "the try is under way, its answer is not there yet"
        made.clock.advance(1)
        await enlist(made, "ann", "t-ann", channel=channel)
        made.clock.advance(1)
        answer.awake.set()
        await made.rest()
        assert made.bodies(EVENTS, Client.AddressRetired) == []
        assert (await client(made, "t-ann", channel)).address == "t-ann"


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
        await take_token(made, "t-bob", by="dan")
        await made.rest()
        assert accepted.message is not None
        ledger = Ledger(made)
        await ledger.assert_balanced()
        assert ledger.totals(accepted.message) == {"accepted": 5, "suppressed": 1}
        for uid in ("ann", "bob", "cem"):
            assert (await contact(made, uid)).suppressed == {}


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
        [dispatch] = made.bodies(DELIVERY, Dispatch)
        assert [to.contact for to in dispatch.recipients] == _ids("bob")
