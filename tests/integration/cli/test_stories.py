"""Stories on a real log: all clients that a device was, whatever it lost on its way, and each fact of theirs."""

from __future__ import annotations

import tracemalloc
from asyncio import timeout
from collections.abc import Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from cli.console import Failure
from cli.reading.devices import CLIENTS_MAX
from cli.reading.logreading import Fact, read_range
from cli.reading.stories import PAGE, Story, facts_of, heading, story
from commands.bus import Bus
from commands.refresh import EndFamily
from commands.sdk_clients import Device, RegisterClient, Standing
from commands.sdk_contacts import IdentifyAppless, IdentifyContact, RefreshContact
from domain.client import Client
from domain.contact import Identity
from domain.context import Context
from domain.devices.signal import EVENTS_KIND, DeviceEvent, DeviceEvents, Interaction
from domain.ids import partition
from domain.recorded import SIGNALS, Recorded, kind_of
from domain.refresh_family import GRACE, RefreshRefused
from infra.log.log import JetStreamLog
from infra.log.signals import open_signals
from processes.port import Poison
from tests.integration.log.scenes import AT
from tests.integration.resolution.resolving_child import IDS, StoredThreads, carries_anything

APP, OTHER, PHONE = "EMS1-1", "EMS2-2", "phone-1"
ANN = Identity(3, "ann@example.org")
CONTEXT = Context("main", "test", "", "corr")
ABROAD = Context("abroad", "test", "", "corr")


class Time:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        """Each asking a moment later."""
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def bus(log: JetStreamLog, time: Time) -> Bus:
    numbers: Iterator[int] = count()
    return Bus(
        store=log.events,
        threads=StoredThreads(log.events),
        check=carries_anything,
        ids=IDS,
        clock=time,
        nonce=lambda: f"nonce-{next(numbers)}",
    )


async def register(bus: Bus) -> Standing:
    """Without a proof, as after a lost answer."""
    device = Device(app=APP, client_id=PHONE)
    command = RegisterClient(device=device, properties={}, with_contact=True)
    standing: Standing = await bus.execute(command, CONTEXT)
    return standing


def a_client(id: UUID, app: str = APP, client_id: str = PHONE) -> Client:
    return Client.register(id=id, at=AT, app=app, client_id=client_id)


def after_move(source: UUID, app: str, realm: str = "main") -> UUID:
    return IDS.client(realm, app, f"{PHONE}#{source.hex}")


async def all_facts(log: JetStreamLog, told: Story) -> list[Fact]:
    async with aclosing(facts_of(log, told)) as facts:
        return [fact async for fact in facts]


async def told_of(log: JetStreamLog, what: str, realm: str = "main") -> list[tuple[int, str]]:
    """The number of the client that each fact is about, 0 without one, and the fact's kind."""
    told = await story(log, IDS, what, realm)
    said = []
    for fact in await all_facts(log, told):
        assert isinstance(fact, Recorded)
        client = told.client_of(fact)
        said.append((client.number if client else 0, kind_of(fact.topic)))
    return said


async def test_a_device_whose_answer_was_lost_is_two_clients_of_one_story(
    log: JetStreamLog, bus: Bus
) -> None:
    """The second, which lives on, is told with the first, which nobody has; and the heading says which is which."""
    lost, live = await register(bus), await register(bus)
    await bus.execute(
        IdentifyContact(device=Device(app=APP, client_id=PHONE, client=live.client), identity=ANN), CONTEXT
    )
    assert lost.client != live.client
    said = await told_of(log, f"client:{APP.lower()}/{PHONE}")
    assert said[0] == (1, "client.registered")
    assert {number for number, _ in said} == {1, 2}
    assert (2, "refresh.issued") in said
    lines = heading(await story(log, IDS, f"client:{APP}/{PHONE}", "main"), "it")
    assert lines[0].startswith("it is 2 clients")
    assert (lost.client.hex in lines[1], live.client.hex in lines[2]) == (True, True)
    assert "without a client state" in lines[3]


async def test_a_family_that_ended_by_reuse_is_in_its_devices_story(
    log: JetStreamLog, bus: Bus, time: Time
) -> None:
    """And the family that the client got after it."""
    first = await register(bus)
    device = Device(app=APP, client_id=PHONE, client=first.client)
    await bus.execute(IdentifyContact(device=device, identity=ANN), CONTEXT)
    time.now += GRACE * 2
    with pytest.raises(RefreshRefused):
        await bus.execute(RefreshContact(token=first.refresh_token, app=APP, client_id=PHONE), CONTEXT)
    await bus.execute(IdentifyContact(device=device, identity=ANN), CONTEXT)
    said = [kind for _, kind in await told_of(log, f"client:{APP}/{PHONE}") if kind.startswith("refresh.")]
    assert said == ["refresh.opened", "refresh.issued", "refresh.reused", "refresh.opened"]
    told = await story(log, IDS, first.client.hex, "main")
    assert len([fact for fact in await all_facts(log, told) if fact.subject.startswith("evt.refresh.")]) == 4
    assert f"client:{APP}/{PHONE}" in told.notes[0]


async def test_a_story_goes_on_where_the_device_moved_and_begins_where_it_came_from(
    log: JetStreamLog,
) -> None:
    """From app to app and back: the same story by the name of either, each client once, though the way is a circle."""
    first = a_client(IDS.client("main", APP, PHONE))
    second = a_client(after_move(first.id, OTHER), OTHER)
    back = a_client(after_move(second.id, APP))
    first.move(at=AT, to=OTHER, client=second.id)
    second.move(at=AT, to=APP, client=back.id)
    back.move(at=AT, to=OTHER, client=second.id)
    await log.events.save(first, second, back, context=CONTEXT)
    told = await story(log, IDS, f"client:{OTHER}/{PHONE}", "main")
    assert [each.id for each in told.clients] == [first.id, second.id, back.id]
    assert [each.came_from for each in told.clients] == [[], [1, 3], [2]]
    by_other_name = await told_of(log, f"client:{APP}/{PHONE}")
    assert by_other_name == await told_of(log, f"client:{OTHER}/{PHONE}")
    assert [kind for _, kind in by_other_name].count("client.moved") == 3
    lines = heading(told, "it")
    assert "came from 1, came from 3, went on as 3" in lines[2]
    assert not lines[-1]
    assert len(lines) == 5, "nobody of them registered anew"


async def test_a_move_abroad_that_was_cut_off_is_found_all_the_same(log: JetStreamLog) -> None:
    """The old client does not know of it yet: the new one's id tells where it came from."""
    first = a_client(IDS.client("main", APP, PHONE))
    await log.events.save(first, context=CONTEXT)
    second = a_client(after_move(first.id, OTHER, "abroad"), OTHER)
    await log.events.save(second, context=ABROAD)
    told = await story(log, IDS, f"client:{APP}/{PHONE}", "main")
    assert [(each.realm, each.came_from) for each in told.clients] == [("main", []), ("abroad", [1])]


async def test_an_installations_own_id_is_followed_where_no_move_is_told(log: JetStreamLog) -> None:
    """Native SDKs forget the client state when they switch apps. A word that many devices may have is not followed."""
    unique = f"{APP}_{uuid4()}"
    await log.events.save(
        a_client(uuid4(), APP, unique),
        a_client(uuid4(), OTHER, unique),
        a_client(uuid4()),
        a_client(uuid4(), OTHER),
        context=CONTEXT,
    )
    told = await story(log, IDS, f"client:{OTHER}/{unique}", "main")
    assert [(each.app, each.came_from) for each in told.clients] == [(APP, []), (OTHER, [])]
    told = await story(log, IDS, f"client:{OTHER}/{PHONE}", "main")
    assert [each.app for each in told.clients] == [OTHER]


async def test_a_name_of_another_realm_or_app_is_named(log: JetStreamLog) -> None:
    """No move leads there, so it is another story; but perhaps the one that was meant."""
    await log.events.save(a_client(uuid4(), OTHER), context=ABROAD)
    with pytest.raises(Failure, match=f"client:{OTHER}/{PHONE} --realm abroad"):
        await story(log, IDS, f"client:{APP}/{PHONE}", "main")
    assert await told_of(log, f"client:{APP}/phone-2") == []


async def test_no_fact_is_left_out_however_many_there_are(log: JetStreamLog) -> None:
    """More than are read at once, of events and of signals, in the order of time; what nobody can read is shown."""
    client = a_client(IDS.client("main", APP, PHONE))
    signals = await open_signals(log.js, lambda: AT + timedelta(seconds=1))
    for number in range(PAGE + 20):
        client.change_properties(at=AT + timedelta(microseconds=number), properties={"n": number})
        if not number % 40:
            await log.events.save(client, context=CONTEXT)
    await log.events.save(client, context=CONTEXT)
    batch = DeviceEvents(client=client.id, events=(DeviceEvent(name="a", at=AT),))
    for _ in range(PAGE + 1):
        await signals.append(batch, kind=EVENTS_KIND, realm="main")
    await log.js.connection.ask(f"evt.client.{partition(client.id)}.{client.id.hex}", b"not ours")
    told = await story(log, IDS, f"client:{APP}/{PHONE}", "main")
    facts = await all_facts(log, told)
    assert len(facts) == 1 + (PAGE + 20) + 1 + (PAGE + 1)
    assert len([fact for fact in facts if isinstance(fact, Poison)]) == 1
    numbers = [
        fact.body.properties["n"]
        for fact in facts
        if isinstance(fact, Recorded) and isinstance(fact.body, Client.PropertiesChanged)
    ]
    assert numbers == list(range(PAGE + 20))
    assert "cannot be read, and may say more: 1;" in told.notes[0]


async def test_large_signals_are_told_one_by_one(log: JetStreamLog) -> None:
    """However many there are: one of them is in memory, not a hundred."""
    client = a_client(IDS.client("main", APP, PHONE))
    await log.events.save(client, context=CONTEXT)
    signals = await open_signals(log.js, lambda: AT + timedelta(seconds=1))
    words = DeviceEvent(name="a", at=AT, attributes={"words": "x" * (1 << 20)})
    for _ in range(20):
        await signals.append(DeviceEvents(client=client.id, events=(words,)), kind=EVENTS_KIND, realm="main")
    told = await story(log, IDS, f"client:{APP}/{PHONE}", "main")
    tracemalloc.start()
    try:
        async with aclosing(facts_of(log, told)) as facts:
            assert len([fact.position async for fact in facts]) == 21
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 << 20


async def test_what_is_no_longer_kept_is_not_waited_for(log: JetStreamLog) -> None:
    """Signals age; where nothing has come after them, a fact that is named and a range of them end at once."""
    signals = await open_signals(log.js, lambda: AT)
    for _ in range(3):
        await signals.append(DeviceEvents(client=uuid4()), kind=EVENTS_KIND, realm="main")
    await log.js.api(f"STREAM.PURGE.{SIGNALS}")
    with pytest.raises(Failure, match="SIGNALS:2 is no longer kept"):
        await story(log, IDS, "SIGNALS:2", "main")
    async with timeout(5):
        assert [page async for page in read_range(log, SIGNALS, after=0, until=3)] == []


async def test_more_clients_than_a_story_takes_are_said_to_be_left_out(log: JetStreamLog) -> None:
    """A client id is anybody's word. The newest are told, and how to read on is said."""
    for _ in range(CLIENTS_MAX + 3):
        await log.events.save(a_client(uuid4()), context=CONTEXT)
    told = await story(log, IDS, f"client:{APP}/{PHONE}", "main")
    assert len(told.clients) == CLIENTS_MAX
    assert told.clients[0].position == 4
    assert "only the newest 1,000 of 1,003" in told.notes[0]
    assert "--until 3 " in told.notes[0]


async def test_a_contacts_story_has_its_sign_ins_without_an_app(log: JetStreamLog, bus: Bus) -> None:
    """From opening the family to its end; another contact's are another story."""
    signed = await bus.execute(IdentifyAppless(identity=ANN), CONTEXT)
    await bus.execute(IdentifyAppless(identity=Identity(3, "bob@example.org")), CONTEXT)
    await bus.execute(EndFamily(family=signed.family, reason="signed-out"), CONTEXT)
    said = [kind for _, kind in await told_of(log, signed.contact.hex)]
    assert sorted(said) == ["contact.created", "contact.identified", "refresh.ended", "refresh.opened"]


async def test_a_merchants_story_is_its_calls_without_an_app(log: JetStreamLog) -> None:
    """Under the merchant's id, whatever the realm that is asked in."""
    signals = await open_signals(log.js, lambda: AT)
    async with signals.writing():
        signals.note(
            "abroad",
            IDS.merchant("abroad"),
            "",
            Interaction(at=AT, call="POST /v3/contact-token", status=200),
        )
    assert await told_of(log, "merchant:abroad") == [(0, "signal.interactions")]
    assert await told_of(log, "merchant:main") == []
