"""commands.port.EventStore and KeyStore, as every implementation has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from commands.port import VersionConflict
from domain.aggregate import Aggregate
from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.errors import Conflict
from domain.message import Content, Message, ToContacts, ToEveryone, ToThread
from domain.request import Request
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from tests.conformance.doors import BACKENDS, Doors, open_doors

AT = datetime(2027, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CONTEXT = Context("main", "boss", "cause", "corr")


@pytest.fixture(params=BACKENDS)
def doors(request: pytest.FixtureRequest) -> Doors:
    return open_doors(request)


def a_thread() -> Thread:
    return Thread.open(id=uuid4(), at=AT, tid="news", settings=Settings(owner="boss", defaults={"a": [1]}))


def a_contact() -> Contact:
    contact = Contact.create(id=uuid4(), at=AT, uid="Zoë | 🙂")
    contact.set_address(at=AT, channel="email", address="zoe@example.org", token=uuid4())
    contact.set_preferences(at=AT, channels=("sms",), locale="de", time_zone="Europe/Berlin")
    contact.suppress(at=AT, channel="sms", code="stop")
    return contact


def a_client(contact: UUID | None = None) -> Client:
    client = Client.register(
        id=uuid4(),
        at=AT,
        app="app",
        client_id="phone",
        contact=contact,
        uid="ann" if contact else None,
        channel="apns",
        address="token",
        token=uuid4(),
        properties={"os": {"version": [17, 1.5, None]}},
    )
    client.quarantine(at=AT, token=client.token, code="doubt")
    return client


def a_message(**fields: Any) -> Message:
    known: dict[str, Any] = {
        "audience": ToEveryone(),
        "content": Content("hello", "subject", {"sound": "x", "n": [1, {"a": None}]}),
        "sender": "boss",
        "expires_at": AT + timedelta(days=1),
    }
    return Message.accept(id=uuid4(), at=AT, **{**known, **fields})


def a_scheduled_message() -> Message:
    message = a_message(scheduled_at=AT, audience=ToContacts((uuid4(), uuid4())), channels=())
    message.fall_due(at=AT)
    message.note_dispatched(at=AT, pages=1, contacts=2, sends=3, suppressed=0)
    message.settle(at=AT, totals={"accepted": 3})
    return message


def a_subscription() -> Subscription:
    subscription = Subscription.start(
        id=uuid4(), at=AT, thread=uuid4(), contact=uuid4(), tid="news", uid="ann"
    )
    subscription.prefer(at=AT, channels=("sms",))
    subscription.end(at=AT)
    subscription.resume(at=AT)
    return subscription


def a_confidential_message() -> Message:
    return a_message(audience=ToThread(uuid4()), tid="news", confidential=True)


MAKERS: tuple[Callable[[], Aggregate], ...] = (
    a_thread,
    a_contact,
    a_client,
    a_message,
    a_scheduled_message,
    a_confidential_message,
    a_subscription,
    lambda: Request.make(id=uuid4(), at=AT, command="threads", answer={"tid": "a"}),
)


async def test_what_was_saved_is_loaded_as_it_was(doors: Doors) -> None:
    """Every aggregate comes back equal, to the microsecond and the last nested value; saved whole or bit by bit."""
    for make in MAKERS:
        saved = make()
        await doors.store.save(saved, context=CONTEXT)
        for fresh in (True, False):
            loaded = await doors.store.load(type(saved), saved.id, fresh=fresh)
            assert loaded is not None
            assert vars(loaded) == vars(saved)


async def test_what_is_not_there_is_none(doors: Doors) -> None:
    """Neither a load nor a claim finds what was never saved, nor another kind under the same id."""
    thread = a_thread()
    assert await doors.store.load(Thread, thread.id) is None
    assert await doors.store.claim_of(Thread, thread.id) is None
    await doors.store.save(thread, context=CONTEXT)
    assert await doors.store.load(Contact, thread.id, fresh=True) is None


async def test_positions_grow(doors: Doors) -> None:
    """A save answers the position of its last event; without pending events it answers 0 and stores nothing."""
    thread = a_thread()
    assert await doors.store.save(thread, context=CONTEXT) == 1
    assert await doors.store.save(thread, context=CONTEXT) == 0
    thread.close(at=AT)
    assert await doors.store.save(thread, a_contact(), context=CONTEXT) == 6


async def test_a_stale_save_is_refused(doors: Doors) -> None:
    """Nothing is stored, what was pending is pending still, and a fresh load sees the winner's."""
    thread = a_thread()
    await doors.store.save(thread, context=CONTEXT)
    one = await doors.store.load(Thread, thread.id, fresh=True)
    other = await doors.store.load(Thread, thread.id, fresh=True)
    assert one is not None
    assert other is not None
    one.close(at=AT)
    other.change(at=AT, settings=Settings(name="late"))
    await doors.store.save(one, context=CONTEXT)
    with pytest.raises(VersionConflict):
        await doors.store.save(other, context=CONTEXT)
    assert len(other.pending_events) == 1
    found = await doors.store.load(Thread, thread.id, fresh=True)
    assert found is not None
    assert found.closed
    assert found.settings == thread.settings


async def test_a_second_beginning_is_refused(doors: Doors) -> None:
    """An id that is taken can't be created again."""
    thread = a_thread()
    await doors.store.save(thread, context=CONTEXT)
    twin = Thread.open(id=thread.id, at=AT, tid="twin", settings=Settings())
    with pytest.raises(VersionConflict):
        await doors.store.save(twin, context=CONTEXT)


async def test_a_save_of_several_is_all_or_nothing(doors: Doors) -> None:
    """One that is stale refuses the others, wherever it stands."""
    thread = a_thread()
    await doors.store.save(thread, context=CONTEXT)
    for order in (False, True):
        stale = Thread.open(id=thread.id, at=AT, tid="twin", settings=Settings())
        fresh = a_contact()
        pair: list[Aggregate] = [stale, fresh]
        with pytest.raises(VersionConflict):
            await doors.store.save(*(reversed(pair) if order else pair), context=CONTEXT)
        assert await doors.store.load(Contact, fresh.id, fresh=True) is None
        assert await doors.store.save(fresh, context=CONTEXT) > 0


async def test_one_of_many_racing_writers_wins(doors: Doors) -> None:
    """Eight at once on one version: one is stored."""
    thread = a_thread()
    await doors.store.save(thread, context=CONTEXT)
    copies = [await doors.store.load(Thread, thread.id, fresh=True) for _ in range(8)]
    for number, copy in enumerate(copies):
        assert copy is not None
        copy.change(at=AT, settings=Settings(name=f"n{number}"))
    saves = [doors.store.save(copy, context=CONTEXT) for copy in copies if copy is not None]
    answers = await asyncio.gather(*saves, return_exceptions=True)
    assert sum(1 for answer in answers if isinstance(answer, int)) == 1
    assert sum(1 for answer in answers if isinstance(answer, VersionConflict)) == 7


async def test_a_claim_stands_with_the_first_event_of_its_batch(doors: Doors) -> None:
    """It is found by that aggregate, with the position of its first event, whatever is saved later."""
    thread, contact = a_thread(), a_contact()
    await doors.store.save(a_message(), context=CONTEXT)
    await doors.store.save(thread, contact, context=CONTEXT, claim="digest")
    assert await doors.store.claim_of(Thread, thread.id) == (2, "digest")
    assert await doors.store.claim_of(Contact, contact.id) == (3, None)
    thread.close(at=AT)
    await doors.store.save(thread, context=CONTEXT, claim="other")
    assert await doors.store.claim_of(Thread, thread.id) == (2, "digest")


async def test_an_aggregate_belongs_to_the_realm_it_began_in(doors: Doors) -> None:
    """Whoever saves it later, and whatever for."""
    thread = a_thread()
    assert await doors.store.realm_of(Thread, thread.id) is None
    await doors.store.save(thread, context=CONTEXT)
    thread.close(at=AT)
    await doors.store.save(thread, context=msgspec.structs.replace(CONTEXT, realm="another"))
    assert await doors.store.realm_of(Thread, thread.id) == CONTEXT.realm


async def test_a_loaded_aggregate_is_the_callers_own(doors: Doors) -> None:
    """What one does to its innermost parts, nobody else sees."""
    client = a_client()
    await doors.store.save(client, context=CONTEXT)
    client.properties["os"]["version"].append("mine")
    for fresh in (True, False, True):
        loaded = await doors.store.load(Client, client.id, fresh=fresh)
        assert loaded is not None
        assert loaded.properties == {"os": {"version": [17, 1.5, None]}}
        loaded.properties["os"]["version"].clear()


async def test_what_a_destroyed_key_sealed_reads_none(doors: Doors) -> None:
    """And nothing more can be sealed for its owner; what was never sealed stays."""
    contact = a_contact()
    client = a_client(contact.id)
    await doors.store.save(contact, client, context=CONTEXT)
    await doors.keys.destroy(f"contact.{contact.id.hex}")
    person = await doors.store.load(Contact, contact.id, fresh=True)
    phone = await doors.store.load(Client, client.id, fresh=True)
    assert person is not None
    assert phone is not None
    assert (person.addresses, person.uid, person.locale) == ({"email": ""}, contact.uid, "de")
    assert (phone.address, phone.token) == (None, client.token)
    person.set_address(at=AT, channel="email", address="new@example.org", token=uuid4())
    with pytest.raises(Conflict):
        await doors.store.save(person, context=CONTEXT)
    phone.link(at=AT, contact=None, uid=None)
    assert await doors.store.save(phone, context=CONTEXT) > 0


async def test_a_key_is_made_when_wanted_and_stays(doors: Doors) -> None:
    """Absent until then; 32 bytes; the same for all who ask at once."""
    assert await doors.keys.key("day.2027-01-01", create=False) is None
    made = await asyncio.gather(*(doors.keys.key("day.2027-01-01", create=True) for _ in range(5)))
    assert len(set(made)) == 1
    assert made[0] is not None
    assert len(made[0]) == 32
    assert await doors.keys.key("day.2027-01-01", create=False) == made[0]
    assert await doors.keys.key("day.2027-01-02", create=True) != made[0]


async def test_destruction_is_final(doors: Doors) -> None:
    """Of a key, and of a name that never had one; again is no error."""
    await doors.keys.key("day.2027-01-01", create=True)
    for name in ("day.2027-01-01", "day.2027-01-01", "day.2027-01-02"):
        await doors.keys.destroy(name)
        assert await doors.keys.key(name, create=False) is None
        assert await doors.keys.key(name, create=True) is None


async def test_many_keys_are_asked_for_at_once(doors: Doors) -> None:
    """Those that exist; neither the destroyed nor the unheard of."""
    names = [f"contact.{number:032x}" for number in range(5)]
    made = {name: await doors.keys.key(name, create=True) for name in names}
    await doors.keys.destroy(names[2])
    found = await doors.keys.keys([*names, "contact." + "f" * 32])
    assert found == {name: key for name, key in made.items() if name != names[2]}
