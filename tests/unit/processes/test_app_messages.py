"""Messages of an app: on its own clients and nowhere else, as they were when the message became due."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from commands.contacts import PutContact
from commands.messaging import FallDue
from domain.contact import Contact
from domain.deliveries.delivery import AudiencePage, Dispatch, OutcomeSlice
from domain.deliveries.outcome import NO_APP, Accepted, Outcome, Retry, Suppressed
from domain.errors import Unavailable
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS, FEED
from gateways.port import AppSender
from processes.dispatching.audience import PAGE_CONTACTS
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, join_app, send_to_app
from tests.memory.senders import SomeSenders
from tests.memory.world import ROLES, World, world

SHOP = AppSender(code="Shop")
OTHERS = tuple(role for role in ROLES if role != "dispatcher")


def clients_of(made: World) -> set[UUID | None]:
    """Whom dispatches were written for."""
    records = [fact.body for fact in made.facts(DELIVERY)]
    return {to.client for record in records if isinstance(record, Dispatch) for to in record.recipients}


def arrived(made: World) -> set[str]:
    """The addresses that providers were given."""
    return {
        address
        for provider in made.providers.values()
        for each in provider.arrived.values()
        for address in each
    }


def outcomes(made: World) -> list[Outcome]:
    records = [fact.body for fact in made.facts(DELIVERY)]
    return [result.outcome for each in records if isinstance(each, OutcomeSlice) for result in each.results]


def reasons(made: World) -> dict[UUID, str]:
    pages = [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, AudiencePage)]
    return {entry.contact: entry.suppressed for page in pages for entry in page.entries}


async def people(made: World) -> None:
    """Ann has two clients of the shop, one of another app and a phone of her own; Bob and Cem have one client each."""
    made.senders.add(SHOP)
    await made.do(PutContact(uid="ann", email="ann@example.org"))
    await enlist(made, "ann", "own-phone", channel="apns")
    await join_app(made, "Shop", "ann", "ann-phone", channel="fcm")
    await join_app(made, "Shop", "ann", "ann-laptop", channel="webpush")
    await join_app(made, "Other", "ann", "ann-other", channel="fcm")
    await join_app(made, "Other", "bob", "bob-other", channel="fcm")
    await join_app(made, "Shop", "cem", "cem-phone", channel="fcm")


async def test_everyone_with_a_client_of_the_app_gets_it_there_alone() -> None:
    """Each of the app's clients once; no other client, mailbox or socket of the same contacts."""
    async with world("apns", "fcm", "webpush", "email") as made:
        await people(made)
        await send_to_app(made, "Shop")
        await made.rest()
        assert arrived(made) == {"t-ann-phone", "t-ann-laptop", "t-cem-phone"}
        assert made.facts(FEED) == []
        assert len(reasons(made)) == 2
        await Ledger(made).assert_balanced()


async def test_named_contacts_get_it_on_the_apps_clients() -> None:
    """Somebody without one is left out, for the reason that there is no address."""
    async with world("apns", "fcm", "webpush", "email") as made:
        await people(made)
        await send_to_app(made, "shop", ("ann", "bob"))
        made.senders.add(AppSender(code="shop"))
        await made.rest()
        assert arrived(made) == {"t-ann-phone", "t-ann-laptop"}
        assert sorted(reasons(made).values()) == ["", "no-address"]
        await Ledger(made).assert_balanced()


async def test_who_joins_before_it_is_due_is_reached_and_who_joins_after_is_not() -> None:
    """The position of the event that makes it due decides, for clients as for members of a thread."""
    async with world("fcm", roles=OTHERS) as made:
        made.senders.add(SHOP)
        await join_app(made, "Shop", "ann", "early")
        later = made.clock.now + timedelta(hours=1)
        accepted = await send_to_app(made, "Shop", scheduled_at=later)
        await join_app(made, "Shop", "bob", "in-time")
        assert accepted.message is not None
        await made.do(FallDue(message=accepted.message))
        await join_app(made, "Shop", "cem", "late")
        await join_app(made, "Shop", "ann", "late-too")
        made.start("dispatcher")
        await made.rest()
        assert arrived(made) == {"t-early", "t-in-time"}
        await Ledger(made).assert_balanced()


async def test_a_client_that_changed_hands_since_is_not_written_to() -> None:
    """It was Ann's when the message became due, and is Bob's by now: her message does not show on his device."""
    async with world("fcm", roles=OTHERS) as made:
        made.senders.add(SHOP)
        await join_app(made, "Shop", "ann", "shared")
        await send_to_app(made, "Shop")
        await join_app(made, "Shop", "bob", "shared")
        made.start("dispatcher")
        await made.rest()
        assert arrived(made) == set()
        assert list(reasons(made).values()) == ["no-address"]


async def test_a_large_audience_is_paged_by_contact() -> None:
    """A contact's clients stay together; every contact is on one page, every client in one dispatch."""
    crowd = 2 * PAGE_CONTACTS + 10
    async with world("fcm", slice_size=500) as made:
        made.senders.add(SHOP)
        for number in range(crowd):
            await join_app(made, "Shop", f"p{number}", f"a{number}")
        for number in range(0, crowd, 20):
            await join_app(made, "Shop", f"p{number}", f"b{number}")
        await send_to_app(made, "Shop")
        await made.rest()
        pages = [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, AudiencePage)]
        assert [len(page.entries) for page in pages] == [PAGE_CONTACTS, PAGE_CONTACTS, 10]
        assert len(clients_of(made)) == len(arrived(made)) == crowd + crowd // 20 + 1
        [noted] = [fact.body for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Dispatched)]
        assert (noted.contacts, noted.sends) == (crowd, crowd + crowd // 20 + 1)
        await Ledger(made).assert_balanced()


@pytest.mark.parametrize("fault", [Fault.DEATH, Fault.PAUSE])
@pytest.mark.parametrize("step", [1, 2, 3])
async def test_a_dispatcher_may_fail_between_any_pages(step: int, fault: Fault) -> None:
    """Its successor goes on behind the last contact that was decided on, though others have joined and left since."""
    crowd = PAGE_CONTACTS + 10
    async with world("fcm", roles=OTHERS, slice_size=500) as made:
        made.senders.add(SHOP)
        for number in range(crowd):
            await join_app(made, "Shop", f"p{number}", f"a{number}")
        life = Lifeline(fault, step)
        await send_to_app(made, "Shop")
        made.start("dispatcher", life)
        await made.quiet()
        await join_app(made, "Shop", "late", "late")
        if fault is Fault.PAUSE:
            made.start("dispatcher")
            made.clock.advance(13)
            await made.quiet()
            life.awake.set()
        await made.rest()
        assert life.hit
        assert arrived(made) == {f"t-a{number}" for number in range(crowd)}
        assert sorted(made.provider("fcm").sends().values()) == [1] * crowd
        await Ledger(made).assert_balanced()


async def test_an_app_that_may_not_send_sends_nothing() -> None:
    """Retired or switched off since: every delivery ends, and says so."""
    async with world("fcm", "webpush") as made:
        await people(made)
        made.senders.senders.clear()
        await send_to_app(made, "Shop")
        await made.rest()
        assert arrived(made) == set()
        assert outcomes(made) == [Suppressed(NO_APP)] * 3
        assert any(isinstance(fact.body, Message.Settled) for fact in made.facts(EVENTS))


async def test_who_was_left_out_while_an_app_was_off_is_reached_once_it_is_on() -> None:
    """By that app, and by others all the while: nobody has said that they want nothing."""
    async with world("fcm", "webpush") as made:
        await people(made)
        made.senders.senders.clear()
        await send_to_app(made, "Shop")
        await made.rest()
        made.senders.add(AppSender(code="Other"))
        await send_to_app(made, "Other")
        await made.rest()
        assert arrived(made) == {"t-ann-other", "t-bob-other"}
        made.senders.add(SHOP)
        await send_to_app(made, "Shop")
        await made.rest()
        assert arrived(made) >= {"t-ann-phone", "t-ann-laptop", "t-cem-phone"}
        assert not any(isinstance(fact.body, Contact.ChannelSuppressed) for fact in made.facts(EVENTS))


class Absent(SomeSenders):
    """Nobody knows the apps for a while."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def sender(self, realm: str, app: str, channel: str) -> AppSender | None:
        self.times -= 1
        if self.times >= 0:
            raise Unavailable("the directory does not answer")
        return await super().sender(realm, app, channel)


async def test_while_nobody_knows_the_apps_their_messages_wait() -> None:
    """Nothing is attempted and nothing is lost."""
    async with world("fcm", "webpush") as made:
        made.senders = Absent(times=4)
        for role in ("fcm", "webpush"):
            [running] = [each for each in made.running if each.role == f"gateway-{role}"]
            await made.stop(running)
            made.start(f"gateway-{role}")
        await people(made)
        await send_to_app(made, "Shop")
        await made.rest()
        assert arrived(made) == {"t-ann-phone", "t-ann-laptop", "t-cem-phone"}
        await Ledger(made).assert_balanced()


async def test_a_retry_is_still_the_apps() -> None:
    """A send that is tried again goes out in the app's name, to the same client."""
    async with world("fcm") as made:
        made.senders.add(SHOP)
        made.provider("fcm").script = lambda target, times: Accepted() if times else Retry("busy", 5.0)
        await join_app(made, "Shop", "ann", "phone")
        await send_to_app(made, "Shop")
        await made.rest()
        dispatches = [fact.body for fact in made.facts(DELIVERY) if isinstance(fact.body, Dispatch)]
        assert [each.app for each in dispatches] == ["Shop", "Shop"]
        await Ledger(made).assert_balanced()
