"""Erasure: nothing of the person is left to be read, whatever is under way at the time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from commands.clients import Enlist
from commands.contacts import EraseContact, PutContact
from commands.messaging import Draft, Send
from commands.threads import Subscribe, Unsubscribe
from domain.aggregate import Aggregate
from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.deliveries.delivery import AudiencePage
from domain.errors import Conflict, NotFound
from domain.recorded import DELIVERY, EVENTS
from domain.subscription import Subscription
from projections import clients, contacts, reach, threads
from tests.memory.ledger import Ledger
from tests.memory.people import enlist, open_thread, publish, subscribe
from tests.memory.ports.event_store import MemoryEventStore
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.projecting import project
from tests.memory.world import IDS, REALM, ROLES, World, world

ANN = IDS.contact(REALM, "ann")


async def ann(made: World) -> None:
    """A member of two threads with two phones and a mail address; and somebody else."""
    for tid in ("news", "jobs"):
        await open_thread(made, tid)
        await subscribe(made, "ann", "bob", tid=tid, phone=True, mail=True)
    await enlist(made, "ann", "second", channel="fcm")
    await made.quiet()


async def assert_gone(made: World, models: MemoryReadModels) -> None:
    """Not listed, without devices, memberships and addresses; the key is destroyed."""
    assert await contacts.find(models, REALM, ANN) is None
    assert await clients.of_contact(models, REALM, ANN) == []
    assert await threads.of_contact(models, REALM, ANN) == []
    [person] = await reach.people(models, REALM, [ANN])
    assert (person.erased, list(person.addresses)) == (True, [])
    assert "ann@" not in str(models.content())
    assert made.vault.held[f"contact.{ANN.hex}"] is None


async def test_an_erasure_runs_through() -> None:
    """Devices and memberships end, the key goes, the others stay; the person's messages are left out from then on."""
    async with world("apns", "fcm", "email") as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await made.rest()
        await assert_gone(made, made.models)
        made.clock.advance(1)
        await publish(made)
        await made.rest()
        [page] = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, AudiencePage)]
        assert [entry.contact for entry in page.entries] == [IDS.contact(REALM, "bob")]
        assert len(await clients.of_contact(made.models, REALM, IDS.contact(REALM, "bob"))) == 1
        await Ledger(made).assert_balanced()


async def test_an_erasure_finds_every_device_however_many_there_were() -> None:
    """Also those behind more links, old and new, than one look takes: anybody who knows a name can make links."""
    async with world() as made:
        await ann(made)
        for number in range(clients.CLIENTS_MAX + 20):
            await made.do(Enlist(uid="ann", channel="fcm", identity=f"{number}", address=f"{number}"))
        await made.do(EraseContact(uid="ann"))
        await made.quiet()
        linked = {
            fact.body.originator_id: fact.body.contact
            for fact in made.facts(EVENTS, "evt.client.>")
            if isinstance(fact.body, Client.Registered | Client.ContactLinked)
        }
        assert ANN not in linked.values()


async def test_read_models_made_anew_know_nothing_either() -> None:
    """What the log can still be read of gives the same rows as what grew before the erasure."""
    async with world() as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await made.rest()
        rebuilt = MemoryReadModels()
        await project(made, rebuilt)
        await assert_gone(made, rebuilt)
        names = {"contacts", "reach", "tokens", "holders", "clients", "contact_clients", "members"}
        before, after = made.models.content(), rebuilt.content()
        assert {name: after.get(name) for name in names} == {name: before.get(name) for name in names}


async def test_an_erasure_waits_for_who_carries_it_out() -> None:
    """Erased while nobody was at work: it is done when somebody is."""
    async with world(roles=[role for role in ROLES if role != "erasure"]) as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await made.quiet()
        assert made.vault.held[f"contact.{ANN.hex}"] is not None
        made.start("erasure")
        await made.rest()
        await assert_gone(made, made.models)


async def test_who_is_erased_gets_no_message_at_once() -> None:
    """Even before the erasure is carried out, nothing more is sent."""
    async with world("apns", roles=[role for role in ROLES if role != "erasure"]) as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await publish(made)
        await made.rest()
        [page] = [f.body for f in made.facts(DELIVERY) if isinstance(f.body, AudiencePage)]
        assert {entry.contact: entry.suppressed for entry in page.entries}[ANN] == "erased"


async def test_what_comes_in_between_is_erased_as_well() -> None:
    """A device enlisted, or a membership begun, just when the person is erased: nothing of it stays."""
    for order in range(6):
        async with world() as made:
            await open_thread(made)
            await made.do(PutContact(uid="ann", email="ann@example.org"))
            await made.quiet()
            calls = [
                made.do(EraseContact(uid="ann")),
                made.do(Enlist(uid="ann", channel="apns", identity="late", address="ann@late")),
                made.do(Subscribe(tid="news", uid="ann")),
            ]
            turned = calls[order % 3 :] + calls[: order % 3]
            if order > 2:
                turned.reverse()
            answers = await asyncio.gather(*turned, return_exceptions=True)
            assert all(not isinstance(each, Exception) or isinstance(each, Conflict) for each in answers)
            await made.rest()
            await assert_gone(made, made.models)


async def test_a_device_enlisted_behind_the_erasure_goes_too() -> None:
    """Its event came after the contact's last: what was decided before the erasure is undone after it."""
    async with world(roles=[role for role in ROLES if role != "erasure"]) as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await _enlist_as_decided_before(made)
        made.start("erasure")
        await made.rest()
        await assert_gone(made, made.models)


async def _enlist_as_decided_before(made: World) -> None:
    client = Client.register(
        id=IDS.client(REALM, "msgxc", "late"),
        at=made.clock.now,
        app="msgxc",
        client_id="late",
        contact=ANN,
        uid="ann",
        channel="apns",
        address="ann@late",
        token=IDS.token(REALM, "apns", "late"),
        properties={},
    )
    await made.own.store.save(client, context=Context(REALM, "test"))


@pytest.mark.parametrize("tid", ["news", "late"])
async def test_a_membership_begun_behind_the_erasure_goes_too(tid: str) -> None:
    """Subscribed, for the first time or again, by a look at the contact from before an erasure that is long done."""
    async with world() as made:
        await ann(made)
        await open_thread(made, "late")
        await made.do(Unsubscribe(tid="news", uid="ann"))
        store = LateStore(made)
        bus = replace(made.own.bus, store=store)
        subscribing = asyncio.create_task(
            bus.execute(Subscribe(tid=tid, uid="ann"), Context(REALM, "test", "", "corr"))
        )
        async with asyncio.timeout(5):
            await store.waits.wait()
        await made.do(EraseContact(uid="ann"))
        await made.rest()
        store.goes_on.set()
        with pytest.raises(Conflict):
            await subscribing
        await made.rest()
        await assert_gone(made, made.models)


class LateStore(MemoryEventStore):
    """What is saved has long been decided on."""

    def __init__(self, made: World) -> None:
        super().__init__(made.streams, made.own.keys)
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()

    async def save(self, *aggregates: Aggregate, context: Context, claim: str | None = None) -> int:
        self.waits.set()
        await self.goes_on.wait()
        return await super().save(*aggregates, context=context, claim=claim)


async def test_nothing_is_undone_twice() -> None:
    """A second erasure of the same person makes no event."""
    async with world() as made:
        await ann(made)
        await made.do(EraseContact(uid="ann"))
        await made.rest()
        end = len(made.streams.messages[EVENTS])
        await made.do(EraseContact(uid="ann"))
        await made.rest()
        assert len(made.streams.messages[EVENTS]) == end
        kinds = [type(fact.body) for fact in made.facts(EVENTS)]
        assert kinds.count(Contact.Erased) == 1
        assert kinds.count(Subscription.Ended) == 2
        assert kinds.count(Client.AddressRetired) == 2
        with pytest.raises(NotFound):
            await made.do(Send(uid="ann", draft=Draft(text="hello")))
