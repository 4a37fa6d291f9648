"""Resolution: whoever is identified, or comes unknown, gets their number, whatever breaks or comes late on the way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.bus import ATTEMPTS_MAX
from commands.contacts import EraseContact
from commands.port import VersionConflict
from commands.resolution import MendClient, ResolveContact
from domain.contact import Contact
from domain.errors import Invalid, MsgxcError, Unavailable
from domain.people.resolution import TRIES_MAX, anonymous_client, anonymous_uid, field_uid, next_asking
from domain.recorded import EVENTS, SCHEDULES
from processes.devices.resolution import ANSWER_S_MAX, CHANGES, DUE
from processes.directories import Anonymous, ContactKey, Identified
from tests.memory.devices import CONTEXT, DEVICE, FIELD, anonymous, client_of, device, identify, linked
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.ports.contact_data import FIRST
from tests.memory.site import eventually
from tests.memory.world import IDS, REALM, RESOLUTION, World, world

ROLES = ("project-events", "erasure", *RESOLUTION)
ANN = field_uid(IDS, REALM, FIELD, "ann@example.org")
ANN_ID = IDS.contact(REALM, ANN)
ANN_KEY = Identified(merchant=REALM, field=FIELD, value="ann@example.org")


async def contact_id(made: World, contact: UUID) -> int | None:
    found = await made.own.store.load(Contact, contact, fresh=True)
    assert found is not None
    return found.contact_id


def topics(made: World) -> list[str]:
    return [fact.topic for fact in made.facts(EVENTS)]


async def test_an_identified_contact_and_its_client_get_the_number() -> None:
    """What the app said is asked for once; the answer is on the contact and on the client, with the change's place."""
    async with world(roles=ROLES) as made:
        contact = await identify(made)
        await made.quiet()
        assert await contact_id(made, contact) == FIRST
        client = await client_of(made)
        assert (client.contact_id, client.resolved_of) == (FIRST, 2)
        assert made.contact_book.asked == [ANN_KEY]
        assert topics(made)[-2:] == ["contact.resolved.v1", "client.contact-resolved.v1"]
        assert {fact.correlation for fact in made.facts(EVENTS)} == {"corr"}


async def test_an_unknown_contact_gets_a_number_of_its_own() -> None:
    """Asked for by a word of ours that stays the same, and that shows nothing."""
    async with world(roles=ROLES) as made:
        contact = await anonymous(made)
        await made.quiet()
        assert made.contact_book.asked == [Anonymous(merchant=REALM, reference=contact.hex)]
        assert (await client_of(made)).contact_id == FIRST == await contact_id(made, contact)


async def test_an_appless_contact_is_resolved_without_a_client() -> None:
    """A contact with no device gets its number, and no client is told of it."""
    async with world(roles=ROLES) as made:
        contact = await identify(made, devices=())
        await made.quiet()
        assert await contact_id(made, contact) == FIRST
        assert "client.contact-resolved.v1" not in topics(made)


async def test_a_contact_of_another_contract_is_not_asked_for() -> None:
    """Only contacts that an app named, or came with, have a number."""
    async with world(roles=ROLES) as made:
        contact = Contact.create(id=IDS.contact(REALM, "ann"), at=made.clock.now, uid="ann")
        await made.own.store.save(contact, context=CONTEXT)
        await made.quiet()
        assert made.contact_book.asked == []


async def test_a_client_linked_after_the_answer_gets_the_number_too() -> None:
    """The maintainer sees the link, the writer saw the number: no client falls between."""
    second = device("device-2")
    async with world(roles=ROLES) as made:
        await identify(made)
        await made.quiet()
        await identify(made, devices=(second,))
        await made.quiet()
        assert (await client_of(made, second)).contact_id == FIRST
        assert len(made.contact_book.asked) == 1


async def test_a_client_that_the_read_models_do_not_know_yet_is_not_missed() -> None:
    """The maintainer came too early, and the writer waits until the link shows."""
    async with world(roles=("clients-maintainer",)) as made:
        contact = await identify(made)
        await made.quiet()
        for role in ("resolver", "contact-id-writer"):
            made.start(role)
        await made.quiet()
        assert await contact_id(made, contact) == FIRST
        assert (await client_of(made)).contact_id is None
        made.start("project-events")
        await made.rest()
        assert (await client_of(made)).contact_id == FIRST


async def test_a_client_that_changes_hands_loses_the_number_and_gets_the_new_one() -> None:
    """A client that another contact takes has no number until that contact's is known, then this one."""
    async with world(roles=ROLES) as made:
        await identify(made)
        await made.quiet()
        await identify(made, "bob@example.org")
        assert (await client_of(made)).contact_id is None
        await made.quiet()
        assert (await client_of(made)).contact_id == FIRST + 1


def down_for(times: int) -> Callable[[ContactKey, int], MsgxcError | None]:
    return lambda key, asked: Unavailable("the contact data does not answer") if asked < times else None


async def test_what_cannot_be_had_now_is_asked_for_later() -> None:
    """The fact is done with at once; a schedule that says nothing about the person brings the change back."""
    async with world(roles=ROLES) as made:
        made.contact_book.script = down_for(3)
        began = made.clock.now
        contact = await identify(made)
        await made.quiet()
        assert await contact_id(made, contact) is None
        [planned] = made.streams.schedules.values()
        assert planned.target == f"due.resolution.{REALM}.{contact.hex}.2"
        assert b"ann" not in planned.body
        await made.rest()
        assert (await client_of(made)).contact_id == FIRST == await contact_id(made, contact)
        assert timedelta(seconds=7) <= made.clock.now - began < timedelta(seconds=10)
        assert made.streams.aside == {}
        shown = {
            sample.labels.get("outcome") or sample.labels.get("le") or sample.name: sample.value
            for metric in made.resolved.collect()
            for sample in metric.samples
        }
        assert (shown["later"], shown["resolved"], shown["given-up"]) == (3, 1, 0)
        assert shown["2.5"] == 0 < shown["10.0"], "timed from the change, not from the last try"


async def test_after_a_day_without_an_answer_the_change_goes_to_triage() -> None:
    """Delays grow to ten minutes and no more, and end; the reason is told."""
    async with world(roles=ROLES) as made:
        made.contact_book.script = down_for(10_000)
        began = made.clock.now
        await identify(made)
        await made.rest()
        [aside] = made.streams.aside.values()
        assert (aside.source, aside.position) == ("contact-resolver", 2)
        assert "the contact data does not answer" in aside.reason
        assert abs(made.clock.now - began - timedelta(hours=24)) < timedelta(minutes=15)
        assert len(made.contact_book.asked) == TRIES_MAX


async def test_what_waited_for_a_process_is_asked_for_as_long_as_anything_else() -> None:
    """Nobody resolved for days: that the contact data is away just then must not put the whole backlog aside."""
    async with world(roles=[role for role in ROLES if role != "resolver"]) as made:
        made.contact_book.script = down_for(3)
        contact = await identify(made)
        await made.quiet()
        made.clock.advance(timedelta(days=3).total_seconds())
        made.start("resolver")
        await made.rest()
        assert made.streams.aside == {}
        assert await contact_id(made, contact) == FIRST


async def test_a_key_that_never_has_a_number_is_not_asked_for_again() -> None:
    """The contact data's own no goes to TRIAGE with its words; others go on."""
    async with world(roles=ROLES) as made:
        made.contact_book.script = lambda key, times: (
            Invalid("there is no field 3") if isinstance(key, Identified) else None
        )
        await identify(made)
        contact = await anonymous(made, device("device-2"))
        await made.rest()
        [aside] = made.streams.aside.values()
        assert "there is no field 3" in aside.reason
        assert await contact_id(made, contact) is not None


async def test_an_old_answer_never_takes_the_place_of_a_newer_one() -> None:
    """An answer that was late by a day finds the newer change's, and leaves it."""
    async with world(roles=()) as made:
        contact = await identify(made)
        assert await made.do(ResolveContact(contact=contact, contact_id=8, of=9)) is True
        assert await made.do(ResolveContact(contact=contact, contact_id=5, of=2)) is False
        assert await made.do(ResolveContact(contact=contact, contact_id=7, of=9)) is False
        assert await contact_id(made, contact) == 8


@settings(max_examples=60, deadline=None)
@given(
    answers=st.lists(st.integers(1, 6), min_size=1, max_size=14),
    mends=st.sets(st.integers(0, 13)),
)
async def test_any_order_and_repetition_of_answers_gives_the_newest_changes_number(
    answers: list[int], mends: set[int]
) -> None:
    """Of the changes that were answered, the newest one's number stands, on the contact and on its client."""
    made = World()
    contact = await identify(made)
    for step, of in enumerate(answers):
        await made.do(ResolveContact(contact=contact, contact_id=1000 + of, of=of))
        if step in mends:
            await made.do(MendClient(client=DEVICE))
    await made.do(MendClient(client=DEVICE))
    client = await client_of(made)
    newest = max(answers)
    assert await contact_id(made, contact) == client.contact_id == 1000 + newest
    assert client.resolved_of == newest


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=10),
    fails=st.integers(0, 4),
)
async def test_whatever_devices_do_each_ends_with_its_contacts_number(
    steps: list[tuple[int, int, bool]], fails: int
) -> None:
    """Devices change hands, alone or on top of each other, with a contact data that fails at first: all agree."""
    async with world(roles=ROLES) as made:
        made.contact_book.script = down_for(fails)
        for number, person, waits in steps:
            used = device(f"device-{number}")
            if person:
                await identify(made, f"person-{person}", devices=(used,))
            else:
                await anonymous(made, used)
            if waits:
                await made.quiet()
        await made.rest()
        for number in {number for number, _, _ in steps}:
            client = await client_of(made, device(f"device-{number}"))
            assert client.contact is not None
            assert client.contact_id == await contact_id(made, client.contact) is not None
        numbers = list(made.contact_book.ids.values())
        assert len(numbers) == len({tuple(step[:2]) if not step[1] else step[1] for step in steps})
        assert made.streams.aside == {}


async def test_a_write_that_others_were_faster_than_waits_as_a_schedule() -> None:
    """The bus gave up on a contact that changes all the time; the process goes on, and the number comes."""
    async with world(roles=("project-events", "expired-writer")) as made:
        running = made.start("resolver")
        running.connection.store.fail = [VersionConflict("somebody was faster") for _ in range(ATTEMPTS_MAX)]
        contact = await identify(made)
        await eventually(lambda: made.streams.schedules)
        assert await contact_id(made, contact) is None
        [planned] = made.streams.schedules.values()
        assert b"somebody was faster" not in planned.body
        await made.rest()
        assert await contact_id(made, contact) == FIRST


async def test_an_erased_contact_is_resolved_no_more() -> None:
    """Its value is gone; an answer under way finds nobody, and its client is not theirs any more."""
    async with world(roles=ROLES) as made:
        made.contact_book.script = down_for(2)
        contact = await identify(made)
        await made.quiet()
        await made.do(EraseContact(uid=ANN))
        await made.do(ResolveContact(contact=contact, contact_id=7, of=2))
        await made.rest()
        assert await contact_id(made, contact) is None
        assert (await client_of(made)).contact is None
        assert made.streams.aside == {}


async def test_a_client_that_comes_to_an_erased_contact_is_freed() -> None:
    """Linked before the erasure got to it: it goes without waiting for the erasure, its address too."""
    second = device("device-2")
    async with world(roles=("project-events", *RESOLUTION)) as made:
        contact = await identify(made)
        await made.quiet()
        await made.do(EraseContact(uid=ANN))
        await made.own.store.save(await linked(made, second, contact, ANN), context=CONTEXT)
        await made.rest()
        assert (await client_of(made, second)).contact is None
        assert (await client_of(made)).contact == contact, "that one is the erasure's"


async def test_a_client_is_mended_by_what_is_so_not_by_what_a_replica_has() -> None:
    """A link that came just after its contact's news is seen by nobody but the maintainer: with an older number, or
    with a contact that was erased meanwhile, the client would stay for ever.
    """
    second = device("device-2")
    async with world(roles=()) as made:
        contact = await identify(made, devices=(DEVICE, second))
        await made.do(ResolveContact(contact=contact, contact_id=5, of=2))
        await made.do(ResolveContact(contact=contact, contact_id=8, of=9))
        made.own.store.stale_behind = 1
        assert await made.do(MendClient(client=DEVICE)) is True
        assert (await client_of(made)).contact_id == 8
        made.own.store.stale_behind = 0
        await made.do(EraseContact(uid=ANN))
        made.own.store.stale_behind = 1
        assert await made.do(MendClient(client=second)) is True
        assert (await client_of(made, second)).contact is None


async def _count_steps(role: str) -> int:
    return len((await _run_through(role, Lifeline())).steps)


async def _run_through(role: str, life: Lifeline) -> Lifeline:
    """The whole way once, with a contact data that is down at first; all is well in the end."""
    async with world(roles=[each for each in ROLES if each != role]) as made:
        made.start(role, life)
        if life.fault is Fault.PAUSE:
            made.start(role)
        made.contact_book.script = down_for(1)
        contact = await identify(made)
        other = await anonymous(made, device("device-2"))
        await made.rest()
        life.awake.set()
        await made.rest()
        assert await contact_id(made, contact) == (await client_of(made)).contact_id
        assert await contact_id(made, other) is not None
        assert (await client_of(made)).contact_id is not None
        assert made.streams.aside == {}
        for topic in ("contact.resolved.v1", "client.contact-resolved.v1"):
            assert topics(made).count(topic) == 2, "each number is written once"
    return life


@pytest.mark.parametrize("role", RESOLUTION)
async def test_every_process_survives_every_fault_after_every_step(role: str) -> None:
    """Killed, paused, or left without an answer, at each of its effects: the numbers come, once each."""
    steps = await _count_steps(role)
    assert steps >= 1
    for fault in Fault:
        for at in range(1, steps + 1):
            await _run_through(role, Lifeline(fault, at))


async def test_schedules_are_written_in_the_streams_own_names() -> None:
    """A contact with two open changes has a schedule for each: the older never hides the newer."""
    async with world(roles=("resolver",)) as made:
        made.contact_book.script = down_for(10)
        contact = await identify(made)
        found = await made.own.store.load(Contact, contact)
        assert found is not None
        found.identify(at=made.clock.now, field=FIELD, value="ann@example.org", encrypted=True)
        await made.own.store.save(found, context=CONTEXT)
        await made.quiet()
        assert sorted(made.streams.schedules) == [f"resolution-{contact.hex}-{of}" for of in (2, 4)]
        assert made.facts(SCHEDULES) == []
        last = Identified(merchant=REALM, field=FIELD, value="ann@example.org", encrypted=True)
        assert set(made.contact_book.asked) == {last}, "what was said last is asked for"


def test_uids_reveal_nothing() -> None:
    """Neither the field's value nor, to who does not have the id key, a way to try values out."""
    assert "ann" not in ANN
    assert field_uid(IDS, "other", FIELD, "ann@example.org") != ANN
    assert anonymous_client(anonymous_uid(DEVICE)) == DEVICE
    for uid in (ANN, "anon-", "anon-" + "g" * 32, anonymous_uid(DEVICE) + "0", "ann"):
        assert anonymous_client(uid) is None


def test_delays_grow_and_end() -> None:
    """1, 2, 4 ... 600 seconds, a fifth more at most; None once it was asked so often, which takes a day."""
    now = World().clock.now
    delays = [
        (due - now).total_seconds()
        for tries in range(1, 13)
        if (due := next_asking(tries=tries, now=now, jitter=0.0))
    ]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    spread = next_asking(tries=1, now=now, jitter=1.0)
    assert spread == now + timedelta(seconds=1.2)
    assert next_asking(tries=TRIES_MAX - 1, now=now, jitter=0.0) is not None
    assert next_asking(tries=TRIES_MAX, now=now, jitter=0.0) is None


def test_the_answers_time_is_within_the_workers() -> None:
    """A fact is handed out again after its worker's time: the contact data has less."""
    assert min(CHANGES.ack_wait_s, DUE.ack_wait_s) > ANSWER_S_MAX
