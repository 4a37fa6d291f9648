"""Commands on contacts, devices, threads and memberships."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from commands.bus import ATTEMPTS_MAX
from commands.clients import ADDRESS_MAX, Enlist, ForgetClient, Unlink
from commands.contacts import EndSubscription, EraseContact, PutContact, RestoreChannel, SuppressChannel
from commands.messaging import Broadcast, Draft, Publish, Send
from commands.port import VersionConflict
from commands.threads import ChangeThread, CloseThread, OpenThread, Subscribe, Unsubscribe
from domain.client import Client
from domain.contact import Contact
from domain.context import Caller
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.recorded import EVENTS
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from tests.memory.world import IDS, REALM, World

ANN = IDS.contact(REALM, "ann")
NEWS = IDS.thread(REALM, "news")
PHONE = Enlist(uid="ann", channel="apns", identity="token", address="token")


def events(made: World, since: int = 0) -> list[type]:
    return [type(fact.body) for fact in made.facts(EVENTS)[since:]]


async def after(made: World, *commands: msgspec.Struct, caller: Caller | None = None) -> list[type]:
    """The kinds of events that these commands made."""
    since = len(made.streams.messages[EVENTS])
    for command in commands:
        await made.do(command, caller=caller)
    return events(made, since)


async def test_enlisting_creates_the_contact_and_the_client() -> None:
    """An unknown uid becomes a contact; the device is one event, address included."""
    made = World()
    assert await after(made, PHONE) == [Contact.Created, Client.Registered]


async def test_enlisting_the_same_device_again_says_that_it_is_alive() -> None:
    """The same client, and an event now and then; nothing else changes."""
    made = World()
    first = await made.do(PHONE)
    assert await after(made, PHONE) == [Client.AddressRenewed]
    assert await after(made, PHONE) == []
    assert await made.do(PHONE) == first


async def test_a_token_that_comes_with_another_user_changes_hands() -> None:
    """It is the same client; it leaves the first contact, address and all."""
    made = World()
    first = await made.do(PHONE)
    found = await after(made, msgspec.structs.replace(PHONE, uid="bob"))
    assert found == [Contact.Created, Client.ContactLinked, Client.AddressRenewed]
    client = await made.own.store.load(Client, first)
    assert client is not None
    assert (client.contact, client.address) == (IDS.contact(REALM, "bob"), "token")


async def test_a_subscription_with_new_keys_is_a_new_address_of_the_same_client() -> None:
    """A browser is known by its endpoint; what else is needed to send to it may change."""
    made = World()
    one = Enlist(uid="ann", channel="webpush", identity="https://push/1", address='{"keys":1}')
    await made.do(one)
    assert await after(made, msgspec.structs.replace(one, address='{"keys":2}')) == [Client.AddressSet]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"uid": ""}, "uid"),
        ({"uid": "x" * 257}, "uid"),
        ({"uid": "a\nb"}, "uid"),
        ({"channel": "email"}, "os"),
        ({"address": ""}, "token"),
        ({"address": "é" * (ADDRESS_MAX // 2 + 1)}, "token"),
    ],
)
async def test_a_device_out_of_bounds_is_refused(changes: dict[str, str], field: str) -> None:
    """The error names the contract's field, and nothing is stored."""
    made = World()
    with pytest.raises(Invalid) as refused:
        await made.do(msgspec.structs.replace(PHONE, **changes))
    assert refused.value.field == field
    assert events(made) == []


async def test_a_device_is_forgotten_by_its_owner_alone() -> None:
    """Its address is retired and it belongs to nobody; for others, and the second time, there is no such device."""
    made = World()
    client = await made.do(PHONE)
    with pytest.raises(NotFound):
        await made.do(ForgetClient(uid="bob", client=client))
    assert await after(made, ForgetClient(uid="ann", client=client)) == [
        Client.AddressRetired,
        Client.ContactLinked,
    ]
    with pytest.raises(NotFound):
        await made.do(ForgetClient(uid="ann", client=client))


async def test_a_forgotten_device_can_come_back() -> None:
    """Enlisting it again links it and sets its address."""
    made = World()
    client = await made.do(PHONE)
    await made.do(ForgetClient(uid="ann", client=client))
    assert await after(made, PHONE) == [Client.ContactLinked, Client.AddressSet]
    again = await made.own.store.load(Client, client)
    assert again is not None
    assert (again.contact, again.address) == (ANN, "token")


async def test_put_creates_then_changes_only_what_is_given() -> None:
    """The first put says that the contact is new; fields that are left out stay."""
    made = World()
    assert await made.do(PutContact(uid="ann", email="a@example.org", locale="de")) is True
    assert await made.do(PutContact(uid="ann", cell="+491")) is False
    contact = await made.own.store.load(Contact, ANN)
    assert contact is not None
    assert contact.addresses == {"email": "a@example.org", "sms": "+491"}
    assert contact.locale == "de"
    assert await after(made, PutContact(uid="ann", cell="+491", locale="de")) == []
    assert await after(made, PutContact(uid="ann", cell="")) == [Contact.AddressSet]
    assert await after(made, PutContact(uid="ann", channels=("sms",))) == [Contact.PreferencesSet]
    assert await after(made, PutContact(uid="ann", channels=None)) == [Contact.PreferencesSet]


async def test_a_taken_tid_is_refused_with_what_to_do() -> None:
    """Whether other settings were meant or the thread is closed is not told apart: who asks may not know of it."""
    made, said = World(), "change that one, or use another tid"
    news = OpenThread(tid="news", settings=Settings(owner="boss"))
    await made.do(news)
    with pytest.raises(Conflict, match=said):
        await made.do(OpenThread(tid="news", settings=Settings(owner="ann")))
    await made.do(CloseThread(tid="news"))
    with pytest.raises(Conflict, match=said):
        await made.do(news)


async def test_erasure_is_for_good() -> None:
    """After it the uid takes no address, no device and no subscription; erasing again is no error."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    with pytest.raises(NotFound):
        await made.do(EraseContact(uid="ann"))
    await made.do(PHONE)
    assert await after(made, EraseContact(uid="ann"), EraseContact(uid="ann")) == [Contact.Erased]
    for command in (PHONE, PutContact(uid="ann", cell="+491"), Subscribe(tid="news", uid="ann")):
        with pytest.raises(Conflict):
            await made.do(command)


async def test_erasure_ends_what_the_contact_has() -> None:
    """Unlinking takes devices, ending takes memberships; both can be repeated, and leave what is another's alone."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    client = await made.do(PHONE)
    await made.do(Subscribe(tid="news", uid="ann"))
    other = Unlink(client=client, contact=IDS.contact(REALM, "bob"))
    assert await after(made, other) == []
    unlink, end = Unlink(client=client, contact=ANN), EndSubscription(thread=NEWS, contact=ANN)
    assert await after(made, unlink, unlink) == [Client.AddressRetired, Client.ContactLinked]
    assert await after(made, end, end) == [Subscription.Ended]
    assert await after(made, EndSubscription(thread=NEWS, contact=UUID(int=1))) == []


async def test_suppressing_and_restoring() -> None:
    """Each once; for a contact that is not there it is an error."""
    made = World()
    await made.do(PutContact(uid="ann"))
    stop = SuppressChannel(contact=ANN, channel="sms", code="stop")
    start = RestoreChannel(contact=ANN, channel="sms")
    assert await after(made, stop, stop, start, start) == [Contact.ChannelSuppressed, Contact.ChannelRestored]
    with pytest.raises(NotFound):
        await made.do(SuppressChannel(contact=UUID(int=1), channel="sms", code="stop"))


async def test_a_thread_belongs_to_who_opens_it() -> None:
    """Without an owner in the settings it is the caller; opening it the same way again is no error."""
    made = World()
    boss = Caller("boss")
    command = OpenThread(tid="news", settings=Settings(name="News"))
    assert await after(made, command, command, caller=boss) == [Thread.Opened]
    thread = await made.own.store.load(Thread, NEWS)
    assert thread is not None
    assert thread.settings.owner == "boss"
    with pytest.raises(Conflict):
        await made.do(command, caller=Caller("ann"))
    await made.do(CloseThread(tid="news"))
    with pytest.raises(Conflict):
        await made.do(command, caller=boss)


async def test_the_exchange_chooses_a_tid() -> None:
    """An empty tid gets a fresh one each time; one that can't be is refused."""
    made = World()
    tids = [(await made.do(OpenThread(settings=Settings()), caller=Caller("boss"))).tid for _ in range(2)]
    assert len(set(tids)) == 2
    for tid in ("x" * 129, "a\tb"):
        with pytest.raises(Invalid):
            await made.do(OpenThread(tid=tid, settings=Settings()))


@pytest.mark.parametrize(
    "make", [lambda: ChangeThread(tid="news", settings=Settings(name="x")), lambda: CloseThread(tid="news")]
)
async def test_a_thread_is_run_by_its_owner_and_admins(make: Callable[[], msgspec.Struct]) -> None:
    """Others are told 403 if they may see it, else 404; the owner stays if the settings name none."""
    made = World()
    settings = Settings(owner="boss", admins=("admin",), publishers=("pub",))
    await made.do(OpenThread(tid="news", settings=settings))
    with pytest.raises(NotFound):
        await made.do(make(), caller=Caller("ann"))
    with pytest.raises(Forbidden):
        await made.do(make(), caller=Caller("pub"))
    await made.do(make(), caller=Caller("admin"))
    thread = await made.own.store.load(Thread, NEWS)
    assert thread is not None
    assert thread.settings.owner == "boss"


SUBSCRIBERS: list[tuple[str, dict[str, Any], type[Exception] | None]] = [
    ("boss", {}, None),
    ("pub", {}, Forbidden),
    ("ann", {}, NotFound),
    ("ann", {"open_subscribe": True}, None),
    ("ann", {"open_publish": True}, None),
]


@pytest.mark.parametrize(("uid", "flags", "error"), SUBSCRIBERS)
async def test_who_may_subscribe(uid: str, flags: dict[str, Any], error: type[Exception] | None) -> None:
    """Owner and admins, and anybody where a flag is open; 403 for who may see the thread, 404 for others."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss", publishers=("pub",), **flags)))
    command = Subscribe(tid="news", uid=uid)
    if error is None:
        assert Subscription.Started in await after(made, command, caller=Caller(uid))
        assert await after(made, command, caller=Caller(uid)) == []
    else:
        with pytest.raises(error):
            await made.do(command, caller=Caller(uid))


async def test_a_shut_thread_has_no_members_by_its_settings() -> None:
    """Who came by a right that was withdrawn may not come again, nor see the thread; opened again, it has them back."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss", open_subscribe=True)))
    again = Subscribe(tid="news", uid="ann")
    await made.do(again, caller=Caller("ann"))
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss")))
    with pytest.raises(NotFound):
        await made.do(again, caller=Caller("ann"))
    with pytest.raises(NotFound):
        await made.do(Publish(tid="news", draft=Draft(text="hello")), caller=Caller("ann"))
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss", open_subscribe=True)))
    assert await after(made, again, caller=Caller("ann")) == []


async def test_a_granted_member_may_set_preferences_after_the_thread_was_shut() -> None:
    """Whom an admin made a member, or confirmed, may subscribe again, and choose channels."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss", open_subscribe=True)))
    await made.do(Subscribe(tid="news", uid="ann"), caller=Caller("ann"))
    confirm = Subscribe(tid="news", uid="ann")
    admin = Caller("root", roles=frozenset({"admin"}))
    assert await after(made, confirm, caller=admin) == [Subscription.Granted]
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss")))
    quiet = Subscribe(tid="news", uid="ann", channels=("email",))
    assert await after(made, quiet, caller=Caller("ann")) == [Subscription.PreferencesSet]
    await made.do(Unsubscribe(tid="news", uid="ann"), caller=Caller("ann"))
    with pytest.raises(NotFound):
        await made.do(quiet, caller=Caller("ann"))


async def test_leaving_is_always_allowed() -> None:
    """Leaving what one never joined changes nothing; what is not there can't be left; a closed thread can."""
    made = World()
    with pytest.raises(NotFound):
        await made.do(Unsubscribe(tid="news", uid="ann"))
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    assert await after(made, Unsubscribe(tid="news", uid="ann")) == []
    await made.do(Subscribe(tid="news", uid="ann"))
    await made.do(CloseThread(tid="news"))
    assert await after(made, Unsubscribe(tid="news", uid="ann")) == [Subscription.Ended]


async def test_leaving_does_not_show_what_one_may_not_see() -> None:
    """A stranger is told the same of a hidden thread and of none; who may see it, or was in it, may leave."""
    made = World()
    eve, paul = Caller("eve"), Caller("paul")
    said = []
    for _ in range(2):
        with pytest.raises(NotFound) as refused:
            await made.do(Unsubscribe(tid="news", uid="eve"), caller=eve)
        said.append((refused.value.detail, refused.value.field))
        if len(said) == 1:
            await made.do(OpenThread(tid="news", settings=Settings(owner="boss", publishers=("paul",))))
    assert said[0] == said[1]
    assert await after(made, Unsubscribe(tid="news", uid="paul"), caller=paul) == []
    await made.do(Subscribe(tid="news", uid="eve"))
    for expected in ([Subscription.Ended], []):
        assert await after(made, Unsubscribe(tid="news", uid="eve"), caller=eve) == expected


async def test_racing_subscribers_become_one_membership() -> None:
    """Eight calls at once for one contact: one contact, one subscription."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    await asyncio.gather(*(made.do(Subscribe(tid="news", uid="ann")) for _ in range(8)))
    assert events(made) == [Thread.Opened, Contact.Created, Subscription.Started]


async def test_a_decision_is_never_made_on_what_is_out_of_date() -> None:
    """A replica that lags makes no difference: what was refused, or found done, is looked at again."""
    made = World()
    made.own.store.stale_behind = 3
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss")))
    await made.do(Subscribe(tid="news", uid="ann"))
    assert await after(made, Unsubscribe(tid="news", uid="ann")) == [Subscription.Ended]
    assert await after(made, Subscribe(tid="news", uid="ann")) == [Subscription.Resumed]
    await made.do(ChangeThread(tid="news", settings=Settings(owner="boss", admins=("ann",))))
    await made.do(CloseThread(tid="news"), caller=Caller("ann"))
    client = await made.do(PHONE)
    await made.do(ForgetClient(uid="ann", client=client))


async def test_many_who_race_for_one_contact_all_get_through() -> None:
    """Thirty calls with different contents: each is told that it was done, and one of them is the last."""
    made = World()
    mails = [f"ann{number}@example.org" for number in range(30)]
    made_new = await asyncio.gather(*(made.do(PutContact(uid="ann", email=mail)) for mail in mails))
    assert sorted(made_new) == [False] * 29 + [True]
    contact = await made.own.store.load(Contact, ANN)
    assert contact is not None
    assert contact.addresses["email"] in mails


async def test_an_erased_contact_sends_nothing() -> None:
    """A token outlives its contact: what it would publish, or send by name, is refused as a device of theirs is."""
    made = World()
    await made.do(OpenThread(tid="news", settings=Settings(owner="boss", open_publish=True)))
    await made.do(PutContact(uid="ann"))
    draft = Draft(text="hello")
    await made.do(Publish(tid="news", draft=draft), caller=Caller("ann"))
    await made.do(EraseContact(uid="ann"))
    await made.do(PutContact(uid="bob"))
    root = Caller("ann", roles=frozenset({"admin"}))
    for command, caller in (
        (Publish(tid="news", draft=draft), Caller("ann")),
        (Send(uid="bob", draft=draft), root),
        (Broadcast(draft=draft), root),
    ):
        with pytest.raises(Conflict, match="erased"):
            await made.do(command, caller=caller)
    await made.do(Publish(tid="news", draft=draft), caller=Caller("never seen"))


async def test_endless_conflicts_are_given_up() -> None:
    """A command that loses every race is told so, after a bounded number of tries."""
    made = World()
    made.own.store.fail = [VersionConflict("again") for _ in range(ATTEMPTS_MAX)]
    with pytest.raises(VersionConflict):
        await made.do(PHONE)
    assert made.own.store.fail == []
    await made.do(PHONE)
