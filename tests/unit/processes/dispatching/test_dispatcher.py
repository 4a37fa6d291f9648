"""The dispatcher: pages written once, the audience decided by position, and shared work without gaps."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from commands.contacts import EraseContact, PutContact, SuppressChannel
from commands.messaging import Broadcast, Draft, Multicast, Publish, Send
from commands.threads import ChangeThread, OpenThread, Subscribe, Unsubscribe
from domain.context import Caller
from domain.deliveries.delivery import AudiencePage, Dispatch
from domain.deliveries.routing import Address, Decision
from domain.message import Message
from domain.recorded import DELIVERY, EVENTS, FEED
from domain.thread import Settings
from processes.dispatching.audience import PAGE_CONTACTS
from processes.dispatching.dispatcher import ADDRESS_BYTES_MAX, _chunks
from processes.feeding.feed import contact_subject, system_thread, thread_subject
from tests.memory.ledger import Ledger
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, open_thread, publish, subscribe
from tests.memory.world import IDS, REALM, ROLES, World, world

CROWD = 2 * PAGE_CONTACTS + 50
OTHERS = tuple(role for role in ROLES if role != "dispatcher")


def pages(made: World) -> list[AudiencePage]:
    return made.bodies(DELIVERY, AudiencePage)


def dispatches(made: World) -> list[Dispatch]:
    return made.bodies(DELIVERY, Dispatch)


def reached(made: World) -> dict[str, tuple[str, ...]]:
    """Channels, or the reason why none, by uid."""
    names = {IDS.contact(REALM, uid): uid for uid in ("ann", "bob", "cem", "dan", "nobody")}
    return {
        names[entry.contact]: entry.channels or (entry.suppressed,)
        for page in pages(made)
        for entry in page.entries
    }


def assert_everybody_once(made: World, sends: int) -> None:
    """Each member is decided on once, over pages in order, and gets one dispatch; the books agree."""
    contacts = [entry.contact for page in pages(made) for entry in page.entries]
    assert len(contacts) == len(set(contacts)) == CROWD
    assert [page.page for page in pages(made)] == [0, 1, 2]
    assert [page.cursor is None for page in pages(made)] == [False, False, True]
    assert sorted(made.provider("apns").sends().values()) == [1] * sends
    [dispatched] = [f.body for f in made.facts(EVENTS) if isinstance(f.body, Message.Dispatched)]
    assert (dispatched.pages, dispatched.contacts, dispatched.sends) == (3, CROWD, sends)
    assert {each.lane for each in dispatches(made)} == {"bulk"}


async def test_a_large_audience_is_paged() -> None:
    """Every member is on one page, every address in one dispatch of at most 500, on the bulk lane."""
    async with world("apns", slice_size=500) as made:
        await open_thread(made)
        await subscribe(made, *(f"p{number}" for number in range(CROWD)))
        for number in range(0, CROWD, 10):
            await enlist(made, f"p{number}", f"t{number}")
        await publish(made)
        await made.rest()
        assert_everybody_once(made, CROWD // 10)
        await Ledger(made).assert_balanced()


@pytest.mark.parametrize("fault", [Fault.DEATH, Fault.PAUSE, Fault.LOST_ANSWER])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
async def test_a_dispatcher_may_fail_between_any_pages(step: int, fault: Fault) -> None:
    """Its successor goes on behind the last page that was written; no page is written twice, with sends or without."""
    async with world("apns", roles=OTHERS, slice_size=500) as made:
        uids = tuple(f"p{number}" for number in range(CROWD))
        reachable = uids[:PAGE_CONTACTS:50]
        for uid in reachable:
            await enlist(made, uid, uid)
        life = Lifeline(fault, step)
        await made.do(Multicast(uids=uids, draft=Draft(text="hello", channels=("apns",))))
        made.start("dispatcher", life)
        await made.quiet()
        if fault is Fault.PAUSE:
            made.start("dispatcher")
            made.clock.advance(13)
            await made.quiet()
            life.awake.set()
        await made.rest()
        assert life.hit
        assert_everybody_once(made, len(reachable))
        await Ledger(made).assert_balanced()


async def test_who_is_subscribed_when_it_becomes_due_gets_it() -> None:
    """Subscribed before the message's position: in; after it: out; however late the dispatcher looks."""
    async with world(roles=OTHERS) as made:
        await open_thread(made)
        await subscribe(made, "ann", "bob")
        await made.do(Unsubscribe(tid="news", uid="bob"))
        await publish(made)
        await made.do(Subscribe(tid="news", uid="bob"))
        await made.do(Subscribe(tid="news", uid="cem"))
        await made.do(Unsubscribe(tid="news", uid="ann"))
        made.start("dispatcher")
        await made.rest()
        assert reached(made) == {"ann": ("websocket",)}


async def test_who_was_let_in_by_settings_that_changed_is_not_in_the_audience() -> None:
    """By position: a message from before the thread was shut reaches its members, one from after it whom an admin
    made a member, one from when it is open again all, however late the dispatcher looks.
    """
    async with world(roles=OTHERS) as made:
        opened = Settings(owner="boss", open_subscribe=True)
        await made.do(OpenThread(tid="news", settings=opened))
        for uid in ("ann", "bob"):
            await made.do(Subscribe(tid="news", uid=uid), caller=Caller(uid))
        await subscribe(made, "bob", "cem")
        await publish(made)
        await made.do(ChangeThread(tid="news", settings=Settings(owner="boss")))
        await publish(made)
        await made.do(ChangeThread(tid="news", settings=Settings(owner="boss", admins=("ann",))))
        await publish(made)
        made.start("dispatcher")
        await made.rest()
        names = {IDS.contact(REALM, uid): uid for uid in ("ann", "bob", "cem")}
        told = [sorted(names[entry.contact] for entry in page.entries) for page in pages(made)]
        assert sorted(told) == [["ann", "bob", "cem"], ["ann", "bob", "cem"], ["bob", "cem"]]


async def test_an_unsubscribe_race_has_one_answer() -> None:
    """Publish and unsubscribe at once, many times: who left before the message's position is never in its audience."""
    async with world() as made:
        await open_thread(made)
        for number in range(12):
            await subscribe(made, "ann")
            calls = [made.do(Unsubscribe(tid="news", uid="ann")), publish(made)]
            await asyncio.gather(*(calls if number % 2 else reversed(calls)))
            await made.rest()
            left = made.facts(EVENTS, "evt.subscription.>")[-1].position
            page = pages(made)[-1]
            assert bool(page.entries) == (left > page.as_of)


async def test_a_scheduled_message_goes_to_who_is_there_when_it_falls_due() -> None:
    """Not to who was there when it was accepted."""
    async with world() as made:
        await open_thread(made)
        await subscribe(made, "ann")
        await publish(made, scheduled_at=made.clock.now + timedelta(hours=1))
        await made.quiet()
        await made.do(Unsubscribe(tid="news", uid="ann"))
        await subscribe(made, "bob")
        await made.rest()
        assert reached(made) == {"bob": ("websocket",)}
        [page] = pages(made)
        [due] = [fact for fact in made.facts(EVENTS) if isinstance(fact.body, Message.Due)]
        assert page.as_of == due.position


async def test_enlist_then_publish_always_reaches_the_device() -> None:
    """The dispatcher waits until the read models have passed the message's position."""
    async with world(roles=[role for role in OTHERS if role != "project-events"]) as made:
        await open_thread(made)
        made.start("dispatcher")
        await subscribe(made, "ann", phone=True)
        await publish(made)
        await made.quiet()
        assert pages(made) == []
        made.start("project-events")
        await made.rest()
        assert reached(made) == {"ann": ("websocket", "apns")}


async def test_everyone_is_reached_by_a_broadcast() -> None:
    """Every contact of the realm but the erased; newcomers of later don't get it."""
    async with world() as made:
        for uid in ("ann", "bob", "cem"):
            await made.do(PutContact(uid=uid, email=f"{uid}@example.org"))
        await made.do(EraseContact(uid="cem"))
        await made.do(Broadcast(draft=Draft(text="hello")))
        await made.do(PutContact(uid="dan"))
        await made.rest()
        assert reached(made) == {"ann": ("websocket", "email"), "bob": ("websocket", "email")}


async def test_named_contacts_each_have_a_decision() -> None:
    """Unknown, erased and switched-off ones are left out with the reason; the others are sent to."""
    async with world("email") as made:
        await made.do(PutContact(uid="ann", email="ann@example.org"))
        await made.do(PutContact(uid="bob", channels=()))
        await made.do(PutContact(uid="cem"))
        await made.do(EraseContact(uid="cem"))
        await made.do(PutContact(uid="dan"))
        draft = Draft(text="hello", channels=("email",))
        await made.do(Multicast(uids=("ann", "bob", "cem", "dan", "nobody"), draft=draft))
        await made.rest()
        assert reached(made) == {
            "ann": ("email",),
            "bob": ("switched-off",),
            "cem": ("erased",),
            "dan": ("no-address",),
            "nobody": ("unknown-contact",),
        }
        await Ledger(made).assert_balanced()


async def test_preferences_of_the_subscription_count() -> None:
    """A member who chose channels for this thread gets it on those alone."""
    async with world() as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True, mail=True)
        await made.do(Subscribe(tid="news", uid="ann", channels=("email",)))
        await publish(made)
        await made.rest()
        assert reached(made) == {"ann": ("email",)}


async def test_a_suppressed_channel_is_not_used() -> None:
    """Also one of the contact's devices' channels, when the contact said stop to it."""
    async with world() as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True, mail=True)
        await publish(made)
        await made.quiet()
        for channel in ("email", "apns"):
            command = SuppressChannel(contact=IDS.contact(REALM, "ann"), channel=channel, code="stop")
            await made.do(command)
            await publish(made)
            await made.quiet()
        found = [page.entries[0].channels for page in pages(made)]
        assert found == [("websocket", "apns", "email"), ("websocket", "apns"), ("websocket",)]


@pytest.mark.parametrize("kind", ["thread", "contacts", "everyone"])
async def test_open_sockets_get_one_frame(kind: str) -> None:
    """On the thread's, the contacts' or the system's subject, in the contract's form; none if sockets are excluded."""
    async with world() as made:
        await open_thread(made)
        await subscribe(made, "ann")
        draft = Draft(text="hello", opts={"sound": "x"})
        commands: dict[str, Any] = {
            "thread": (
                Publish(tid="news", draft=draft),
                thread_subject(IDS.thread(REALM, "news")),
                "/thread/news",
            ),
            "contacts": (
                Send(uid="ann", draft=draft),
                contact_subject(IDS.contact(REALM, "ann")),
                "/contact",
            ),
            "everyone": (
                Broadcast(draft=draft),
                thread_subject(system_thread(IDS, REALM)),
                "/broadcast/system",
            ),
        }
        command, subject, slug = commands[kind]
        accepted = await made.do(command)
        without = msgspec.structs.replace(draft, channels=("email",))
        await made.do(msgspec.structs.replace(command, draft=without))
        await made.rest()
        [stored] = made.streams.messages[FEED]
        assert stored.subject == subject
        assert stored.headers["Message"] == accepted.message.hex
        shown = msgspec.json.decode(stored.data)
        assert (shown["msg"], shown["slug"], shown["opts"]) == ("hello", slug, {"sound": "x"})
        assert (shown["mid"], shown["ok"], shown["sender"]) == (str(accepted.message), True, {"uid": "test"})


async def test_open_sockets_do_not_wait_for_read_models() -> None:
    """Frames are there, once and in the order of the log, while the audiences can't be decided yet."""
    async with world(roles=[role for role in ROLES if role != "project-events"]) as made:
        await open_thread(made)
        messages = [(await publish(made)).message for _ in range(30)]
        await made.quiet()
        assert pages(made) == []
        made.start("project-events")
        await made.rest()
        assert len(pages(made)) == len(messages)
        shown = [UUID(hex=stored.headers["Message"]) for stored in made.streams.messages[FEED]]
        assert shown == messages


async def test_more_addresses_than_fit_a_dispatch_are_split() -> None:
    """A page whose contacts have many devices becomes several dispatches on the channel, each at most 500."""
    async with world("apns", slice_size=500) as made:
        await open_thread(made)
        await subscribe(made, *(f"p{number}" for number in range(30)))
        for number in range(30):
            for device in range(20):
                await enlist(made, f"p{number}", f"t-{number}-{device}")
        await publish(made)
        await made.rest()
        assert [(d.page, len(d.recipients)) for d in dispatches(made)] == [("0", 500), ("0x1", 100)]
        await Ledger(made).assert_balanced()


async def test_addresses_are_hidden_on_the_log() -> None:
    """A dispatch shows neither content nor address without the day's key."""
    async with world("apns") as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        await publish(made, text="a secret")
        await made.rest()
        assert not any(
            b"t-ann" in each.data or b"secret" in each.data for each in made.streams.messages[DELIVERY]
        )


async def test_a_confidential_message_is_delivered() -> None:
    """Its content is sealed on the log, and opened for who sends it."""
    async with world("apns") as made:
        await made.do(OpenThread(tid="news", settings=Settings(owner="boss", confidential=True)))
        await subscribe(made, "ann", phone=True)
        await publish(made, text="a secret")
        await made.rest()
        assert list(made.provider("apns").sends().values()) == [1]
        assert not any(b"secret" in each.data for each in made.streams.messages[EVENTS])


def test_long_addresses_make_more_dispatches_of_a_page() -> None:
    """Each stays within the bytes that one NATS message holds, in order and with nobody left out."""
    long = "x" * 4_000
    decisions = [
        Decision(UUID(int=n), (Address("webpush", f"{n:04d}{long}"),), websocket=False) for n in range(400)
    ]
    chunks = _chunks(7, decisions)
    assert [page for _, page, _ in chunks] == ["7", "7x1", "7x2", "7x3", "7x4"]
    assert all(sum(len(a.address) for _, a in chunk) <= ADDRESS_BYTES_MAX for *_, chunk in chunks)
    assert [contact.int for *_, chunk in chunks for contact, _ in chunk] == list(range(400))
