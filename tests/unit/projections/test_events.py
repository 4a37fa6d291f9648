"""Read models made of EVENTS: disorder and repetition change nothing, and they say what the aggregates say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from domain.client import Client
from domain.contact import Contact
from domain.message import Message
from domain.recorded import DELIVERY, Recorded
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from infra.eventstore.catalogue import DELIVERY_TOPICS, domain_catalogue
from infra.eventstore.examples import example_event, example_record
from projections import clients, contacts, messages, reach, threads
from projections.catalogue import ALL
from projections.port import Projection, Put, Selective
from projections.reach import Reach
from tests.memory.clock import START
from tests.unit.projections.histories import (
    REALM,
    TIDS,
    TOKENS,
    UIDS,
    History,
    client_id,
    contact_id,
    fact_of,
    histories,
    projected,
    record,
    thread_id,
    token_id,
)


@given(histories, st.data())
def test_order_and_repetition_make_no_difference(history: History, data: st.DataObject) -> None:
    """Any permutation of the facts, some of them twice, leads to the same rows."""
    twice = data.draw(st.lists(st.sampled_from(history.facts), max_size=5) if history.facts else st.just([]))
    shuffled = data.draw(st.permutations(history.facts + twice))
    assert projected(ALL, shuffled).content() == projected(ALL, history.facts).content()


@given(histories)
async def test_the_checks_find_nothing_wrong(history: History) -> None:
    """What a projection checks before it is switched in holds for every history."""
    models = projected(ALL, history.facts)
    for projection in ALL:
        assert await projection.check(models.generation(projection.name)) == []


def facts_of_all_kinds() -> list[Recorded]:
    catalogue = domain_catalogue()
    records = {topic.partition(".")[0]: record for topic, record in DELIVERY_TOPICS.items()}
    return [
        *(fact_of(example_event(known), 1) for known in catalogue.types.values()),
        *(
            structs.replace(record(DELIVERY, example_record(kind), 1), subject=f"{first}.x")
            for first, kind in records.items()
        ),
    ]


def assert_nothing_but_named(facts: Sequence[Recorded]) -> None:
    for projection in ALL:
        for fact in facts:
            named = projection.subjects.get(fact.stream, ()) if isinstance(projection, Selective) else ()
            begins = tuple(each.removesuffix(">") for each in named)
            if fact.stream in projection.streams and begins and not fact.subject.startswith(begins):
                assert list(projection.project(fact)) == []


@given(histories)
def test_what_a_projection_does_not_name_makes_it_nothing(history: History) -> None:
    """A rebuild is not shown other facts than those on the subjects that the projection names."""
    assert_nothing_but_named(history.facts)


def test_no_kind_of_fact_is_forgotten() -> None:
    """The same of one fact of each kind that there is."""
    assert_nothing_but_named(facts_of_all_kinds())


@pytest.mark.parametrize("projection", ALL, ids=lambda each: each.name)
def test_subjects_are_named_so_that_they_can_be_followed(projection: Projection) -> None:
    """Each is of one of the projection's streams and ends in `.>`."""
    if isinstance(projection, Selective):
        assert set(projection.subjects) <= set(projection.streams)
        assert all(each.endswith(".>") for named in projection.subjects.values() for each in named)


def aggregates[A](history: History, kind: type[A]) -> list[A]:
    return [each for each in history.aggregates.values() if isinstance(each, kind)]


@given(histories)
async def test_contacts_are_listed_with_what_is_known_of_them(history: History) -> None:
    """Every contact that was not erased, with its addresses and preferences; the erased are gone."""
    models = projected(ALL, history.facts)
    for contact in aggregates(history, Contact):
        row = await contacts.find(models, REALM, contact.id)
        if contact.erased:
            assert row is None
            continue
        assert row is not None
        assert row["uid"] == contact.uid
        assert (row["email"] or "") == contact.addresses.get("email", "")
        assert (None if row["channels"] is None else tuple(row["channels"])) == contact.channels


@given(histories, st.integers(0, 60), st.integers(1, 4))
async def test_everyone_is_who_was_there_at_the_position(history: History, as_of: int, limit: int) -> None:
    """A broadcast's audience: created at or before the position, not erased; each once, in pages of any size."""
    models = projected(ALL, history.facts)
    created = {
        fact.body.originator_id for fact in history.facts[:as_of] if isinstance(fact.body, Contact.Created)
    }
    erased = {contact.id for contact in aggregates(history, Contact) if contact.erased}
    found: list[UUID] = []
    cursor: str | None = None
    while True:
        everyone = contacts.everyone(models, REALM, cursor=cursor, chunk=limit)
        row = await anext(everyone, None)
        await everyone.aclose()
        if row is None:
            break
        cursor = contacts.cursor_of(row)
        found += [row["contact"]] if contacts.existed(row, as_of) else []
    assert len(found) == len(set(found))
    assert set(found) == created - erased


@given(histories)
@example(History().run([("enlist", "ann", "d1", "t1"), ("doubt", "d1"), ("retire", "d1")]))
async def test_a_contacts_clients_are_those_linked_to_it(history: History) -> None:
    """By id, each as its aggregate has it."""
    models = projected(ALL, history.facts)
    for uid in UIDS:
        rows = await clients.of_contact(models, REALM, contact_id(uid))
        linked = [c for c in aggregates(history, Client) if c.contact == contact_id(uid)]
        assert [row["client"] for row in rows] == sorted(client.id for client in linked)
        for row in rows:
            client = history.aggregates[Client, row["client"]]
            assert (row["uid"], row["properties"]) == (client.uid, client.properties)
            assert row["token"] == client.token
            assert bool(row["quarantined"]) == bool(client.quarantined_at)


@given(histories)
async def test_people_are_reached_where_their_aggregates_say(history: History) -> None:
    """Addresses, preferences, suppression and ownership, as routing needs them."""
    models = projected(ALL, history.facts)
    people = await reach.people(models, REALM, [contact_id(uid) for uid in UIDS])
    for person in people:
        contact = history.aggregates.get((Contact, person.contact))
        assert person.known == (contact is not None or _was_stored(models, person.contact))
        found = {(a.channel, a.address, a.client) for a in person.addresses}
        assert found == _expected_addresses(history, contact, person.contact)
        if contact is None:
            continue
        assert person.erased == contact.erased
        if not contact.erased:
            assert person.channels == contact.channels
        for address in person.addresses:
            if address.client is None:
                assert address.suppressed == contact.suppressed.get(address.channel, "")
            else:
                token = address.token
                assert token is not None
                assert address.owned == (_owner(history.facts, token) == address.client)


def _was_stored(models: Any, contact: UUID) -> bool:
    return ("main", contact, "") in models.tables.get("reach", {})


def _expected_addresses(
    history: History, contact: Contact | None, id: UUID
) -> set[tuple[str, str, UUID | None]]:
    own = {
        (channel, address, None)
        for channel, address in (contact.addresses if contact else {}).items()
        if address
    }
    linked = [client for client in aggregates(history, Client) if client.contact == id and client.address]
    return own | {(client.channel or "", client.address or "", client.id) for client in linked}


def _owner(facts: Sequence[Recorded], token: UUID) -> UUID | None:
    """Naively: who registered the token last; nobody, once they have given it up."""
    owner: UUID | None = None
    for fact in facts:
        event = fact.body
        if not isinstance(event, Client.Event):
            continue
        lost = getattr(event, "previous_token", None)
        if isinstance(event, Client.AddressRetired):
            lost = event.token
        if lost == token and owner == event.originator_id:
            owner = None
        if isinstance(event, Client.Registered | Client.AddressSet) and event.token == token:
            owner = event.originator_id
    return owner


@given(histories, st.data())
async def test_a_token_belongs_to_its_newest_registration(history: History, data: st.DataObject) -> None:
    """Whatever the order in which the facts arrive."""
    models = projected([Reach()], data.draw(st.permutations(history.facts)))
    for token in TOKENS:
        owner = _owner(history.facts, token_id(token))
        pairs = [(token_id(token), client_id(device)) for device in ("d1", "d2", "d3")]
        owned = await reach.owned(models, REALM, pairs)
        assert owned == [client == owner for _, client in pairs]


@given(histories)
async def test_who_had_a_token_before_is_found_with_the_event_that_gave_it(history: History) -> None:
    """Of each token and at each taking of it: the other clients that had set it before and have it still."""
    models = projected([Reach()], history.facts)
    for fact in history.facts:
        event = fact.body
        token = reach.token_set(event) if isinstance(event, Client.Event) else None
        if token is None or not isinstance(event, Client.Event):
            continue
        found = {
            (claim["client"], claim["version"])
            async for claim in reach.had_before(models, REALM, token, fact.position, event.originator_id)
        }
        assert found == {
            (client.id, client.address_version)
            for client in aggregates(history, Client)
            if client.token == token
            and client.id != event.originator_id
            and _set_at(history, client) < fact.position
        }


def _set_at(history: History, client: Client) -> int:
    """The position of the event that gave it the address it has."""
    return max(
        fact.position
        for fact in history.facts
        if isinstance(fact.body, Client.Registered | Client.AddressSet)
        and fact.body.originator_id == client.id
        and fact.body.token is not None
    )


@given(histories, st.integers(0, 60), st.integers(1, 4))
async def test_any_past_audience_can_be_asked_for(history: History, as_of: int, limit: int) -> None:
    """Membership at a position is the fold of the facts up to it, however much came later."""
    models = projected(ALL, history.facts)
    for tid in TIDS:
        found = await _members(models, tid, as_of, limit)
        assert len(found) == len(set(found))
        assert set(found) == _fold(history.facts[:as_of], thread_id(tid))
        now = await _members(models, tid, None, limit)
        assert set(now) == _fold(history.facts, thread_id(tid))


async def _members(models: Any, tid: str, as_of: int | None, limit: int) -> list[UUID]:
    found: list[UUID] = []
    cursor: str | None = None
    while True:
        rows, cursor = await threads.members(
            models, REALM, thread_id(tid), as_of=as_of, cursor=cursor, limit=limit
        )
        found += [row["contact"] for row in rows]
        if cursor is None:
            return found


def _fold(facts: Sequence[Recorded], thread: UUID) -> set[UUID]:
    """Whoever has come and not left, and was granted it or is let in by the thread's settings."""
    members: dict[UUID, tuple[str, bool]] = {}
    settings = Settings()
    for fact in facts:
        match fact.body:
            case Thread.Opened() | Thread.Changed() as event if event.originator_id == thread:
                settings = event.settings
            case Subscription.Started() | Subscription.Resumed() as event if event.thread == thread:
                members[event.contact] = (event.uid, bool(event.granted))
            case Subscription.Granted() as event if event.thread == thread:
                members[event.contact] = (members[event.contact][0], True)
            case Subscription.Ended() as event if event.thread == thread:
                del members[event.contact]
    return {contact for contact, (uid, granted) in members.items() if granted or settings.lets_in(uid)}


@given(histories)
async def test_memberships_are_the_same_from_both_sides(history: History) -> None:
    """A contact's threads, with preferences, are those that are open and that it is a member of, as they are now."""
    models = projected(ALL, history.facts)
    opened = {each.id: each.settings for each in aggregates(history, Thread) if not each.closed}
    for uid in UIDS:
        own = [each for each in aggregates(history, Subscription) if each.uid == uid]
        rows = await threads.of_contact(models, REALM, contact_id(uid))
        assert {row["thread"]: threads.member_channels(row) for row in rows} == {
            each.thread: each.preferences
            for each in own
            if each.thread in opened and each.holds(opened[each.thread])
        }
        paged = [row async for row in threads.all_of_contact(models, REALM, contact_id(uid), chunk=1)]
        assert {row["thread"] for row in paged} == {each.thread for each in own if each.active}
        for each in own:
            row = await threads.membership(models, REALM, each.thread, each.contact)
            assert row is not None
            for settings in (Settings(), Settings(open_publish=True), Settings(owner=uid)):
                assert threads.membership_holds(row, settings) == each.holds(settings)


async def test_memberships_of_before_grants_were_written_down() -> None:
    """Who made somebody else a member was an admin: the envelope's actor says so."""
    for actor, members in (("ann", set()), ("boss", {contact_id("ann")})):
        history = History().run(
            [("bar", TIDS[0], "open"), ("join", "ann", TIDS[0]), ("bar", TIDS[0], "shut")]
        )
        facts = [
            structs.replace(fact, actor=actor, body=replace(fact.body, granted=None))
            if isinstance(fact.body, Subscription.Started)
            else fact
            for fact in history.facts
        ]
        assert set(await _members(projected(ALL, facts), TIDS[0], None, 10)) == members


@given(histories)
async def test_threads_are_listed_until_they_close(history: History) -> None:
    """Open ones with their settings."""
    models = projected(ALL, history.facts)
    rows, cursor = await threads.listed(models, REALM, cursor=None, limit=10)
    assert cursor is None
    opened = {each.id: each.settings for each in aggregates(history, Thread) if not each.closed}
    assert {row["thread"]: threads.settings_of(row) for row in rows} == opened


@given(histories, st.integers(1, 5))
async def test_messages_are_listed_newest_first(history: History, limit: int) -> None:
    """Those of the realm that are scheduled no more, each in its state; those that are, soonest first."""
    models = projected(ALL, history.facts)
    facts = [fact for fact in history.facts if _waits_no_more(fact)]
    newest = [fact.body.originator_id for fact in reversed(facts)]  # type: ignore[union-attr]
    recent = await messages.recent(models, REALM, since=START, now=START, limit=limit)
    assert [row["message"] for row in recent] == newest[:limit]
    for message in aggregates(history, Message):
        row = await messages.find(models, REALM, message.id)
        assert row is not None
        assert messages.state_of(row) == _state(message)
    upcoming = await messages.upcoming(models, REALM, limit=100)
    waiting = [m for m in aggregates(history, Message) if not m.due and not m.cancelled]
    waiting.sort(key=lambda m: (m.scheduled_at, m.id))
    assert [row["message"] for row in upcoming] == [message.id for message in waiting]


@given(histories)
def test_the_first_fact_of_a_message_clears_nothing(history: History) -> None:
    """There is nothing to clear, and a cell that is cleared is work for a store at each reading."""
    for fact in history.facts:
        if isinstance(fact.body, Message.Accepted):
            put = next(iter(messages.Messages().project(fact)))
            assert isinstance(put, Put)
            assert put.table is messages.MESSAGES
            assert None not in put.values.values()


def _waits_no_more(fact: Recorded) -> bool:
    match fact.body:
        case Message.Accepted(scheduled_at=None) | Message.Due() | Message.Cancelled():
            return True
        case _:
            return False


def _state(message: Message) -> str:
    if message.settled:
        return "settled"
    if message.cancelled:
        return "cancelled"
    return "due" if message.due else "scheduled"
