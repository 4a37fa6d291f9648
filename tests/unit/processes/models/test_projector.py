"""The projector: in order, resumable, stopped by nothing but another log; one bad fact holds up its own aggregate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.contacts import PutContact
from domain.contact import Contact
from domain.recorded import EVENTS, SHOPS, Checkpoint, Recorded
from domain.shop import Addressed, encode
from infra.eventstore.wire import event_subject
from processes.models.holds import source_of
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from processes.port import LogMismatch
from projections import contacts, shop_queries
from projections.catalogue import ALL
from projections.contacts import CONTACTS, Contacts
from projections.port import Put, Write
from projections.shop_queries import Window
from projections.shops import NAME, Shops
from tests.memory.people import open_thread, subscribe
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.ports.streams import Entry
from tests.memory.projecting import end_of, name_of, poison, project, projector, three
from tests.memory.world import IDS, REALM, World


def source(models: MemoryReadModels) -> str:
    """Of what the projection of contacts put aside."""
    return source_of(models.generation("contacts"))


class Picky(Contacts):
    """Contacts, but for what `breaks` says: there it fails as a bug would."""

    def __init__(self, breaks: Callable[[Recorded], bool], error: Exception) -> None:
        self._breaks, self._error = breaks, error

    def project(self, fact: Recorded) -> Iterable[Write]:
        yield from super().project(fact)
        if self._breaks(fact):
            raise self._error


async def test_a_fact_that_is_none_holds_only_its_own_aggregate() -> None:
    """It is put aside with the reason; later facts of its aggregate wait behind it, all others are shown."""
    made, models = World(), MemoryReadModels()
    await three(made)
    poison(made, "bob")
    position = end_of(made.streams)
    subject = event_subject("contact", IDS.contact(REALM, "bob"))
    made.streams.append(EVENTS, [Entry(subject, b"Topic: contact.erased.v1\r\n", b"{}")])
    await made.do(PutContact(uid="ann", locale="fr"))
    await project(made, models)
    assert [await name_of(models, uid) for uid in ("ann", "bob", "cem")] == ["fr", "de", "de"]
    aside = [each for each in made.streams.aside.values() if each.source == source(models)]
    assert [(each.subject, each.position) for each in aside] == [(subject, position), (subject, position + 1)]
    assert "never-heard-of" in aside[0].reason


@pytest.mark.parametrize("error", [ValueError("no rule"), KeyError("bug"), AssertionError("bug")])
async def test_a_projection_that_breaks_on_a_fact_goes_on_with_the_others(error: Exception) -> None:
    """Rows that it gave before it broke are not written, and other projections are not concerned."""
    made, models = World(), MemoryReadModels()
    bob = IDS.contact(REALM, "bob")
    await three(made)
    await made.do(PutContact(uid="bob", locale="fr"))
    await made.do(PutContact(uid="ann", locale="fr"))

    def breaks(fact: Recorded) -> bool:
        body = fact.body
        return isinstance(body, Contact.PreferencesSet) and body.originator_id == bob

    others = [each for each in ALL if each.name != "contacts"]
    await project(made, models, [Picky(breaks, error), *others])
    assert [await name_of(models, uid) for uid in ("ann", "bob", "cem")] == ["fr", None, "de"]
    assert {each.source for each in made.streams.aside.values()} == {source(models)}
    assert str(error) in next(iter(made.streams.aside.values())).reason


class Unstorable(Contacts):
    """Contacts, with one value that no store takes."""

    def project(self, fact: Recorded) -> Iterable[Write]:
        for write in super().project(fact):
            if isinstance(fact.body, Contact.Created) and fact.body.uid == "bob":
                assert isinstance(write, Put)
                yield Put(CONTACTS, write.key, {**write.values, "created_at": 2**70}, write.position)
            else:
                yield write


async def test_rows_that_can_not_be_stored_are_put_aside_like_poison() -> None:
    """The store's refusal is traced to its fact; the rest of the batch is stored."""
    made, models = World(), MemoryReadModels()
    await three(made)
    await project(made, models, [Unstorable()])
    assert [await name_of(models, uid) for uid in ("ann", "bob", "cem")] == ["de", None, "de"]
    assert models.checkpoints["contacts", EVENTS].position == end_of(made.streams)
    assert {each.subject for each in made.streams.aside.values()} == {
        event_subject("contact", IDS.contact(REALM, "bob"))
    }


async def test_a_shops_message_that_is_none_holds_nothing_up() -> None:
    """Messages of a shop do not build on one another: those after one that can't be read are in the archive at once.

    What an earlier version held up goes on as well.
    """
    made, models, shop = World(), MemoryReadModels(), UUID(int=7, version=4)
    subject, lines = f"updates.store.{shop}", b"Time: 2027-01-01T12:00:00.000000Z\r\n"
    bodies = [b"hello", *[encode(Addressed(shop_id=shop, data=number)) for number in range(3)]]
    for body in bodies:
        made.streams.append(SHOPS, [Entry(subject, lines, body)])
        fed = [(Shops(), models.generation(NAME))]
        async with asyncio.timeout(5):
            end = len(made.streams.messages[SHOPS])
            await Projector(made.own.log, SHOPS, fed, Watermark(models, local=True)).run(until=end)
    rows, _ = await shop_queries.updates(models, shop, Window(), place=None, limit=10)
    assert [row["position"] for row in rows] == [2, 3, 4]
    assert [each.position for each in made.streams.aside.values()] == [1]


async def test_what_came_before_a_poison_is_shown_after_a_restart_too() -> None:
    """A projector that died after putting a fact aside, before any row: nothing before that fact is held."""
    made, models = World(), MemoryReadModels()
    await three(made)
    poison(made, "bob")
    subject = event_subject("contact", IDS.contact(REALM, "bob"))
    position = end_of(made.streams)
    await made.own.log.triage(source(models), subject, reason="first try", body=b"", position=position)
    await project(made, models)
    assert await name_of(models, "bob") == "de"
    aside = [each for each in made.streams.aside.values() if each.source == source(models)]
    assert [each.position for each in aside] == [position]


async def test_a_rebuild_by_mended_code_leaves_nobody_out() -> None:
    """What could not be read once is read, and so is all that waited behind it."""
    made, broken, mended = World(), MemoryReadModels(), MemoryReadModels()
    await three(made)
    await made.do(PutContact(uid="bob", locale="fr"))
    created = Picky(lambda fact: isinstance(fact.body, Contact.Created), ValueError("no rule"))
    await project(made, broken, [created])
    assert broken.content().get("contacts", {}) == {}
    await project(made, mended, [Contacts()])
    assert [await name_of(mended, uid) for uid in ("ann", "bob", "cem")] == ["de", "fr", "de"]
    await made.do(PutContact(uid="bob", locale="it"))
    await project(made, mended, [Contacts()])
    assert await name_of(mended, "bob") == "it", "held again after the next start"
    await project(made, broken, [Contacts()])
    assert await name_of(broken, "bob") is None, "the one that has not read it waits on"


async def test_what_an_older_version_put_aside_holds_what_there_was_then() -> None:
    """It named no generation: one that was there by then waits, one that is made later does not."""
    made, former, rebuilt = World(), MemoryReadModels(), MemoryReadModels()
    await three(made)
    await project(made, former)
    subject, position = event_subject("contact", IDS.contact(REALM, "bob")), end_of(made.streams)
    await made.own.log.triage("projection-contacts", subject, reason="no rule", body=b"", position=position)
    rebuilt.created = made.clock.now + timedelta(seconds=1)
    await project(made, rebuilt)
    await made.do(PutContact(uid="bob", locale="it"))
    for models in (former, rebuilt):
        await project(made, models)
    assert [await name_of(models, "bob") for models in (former, rebuilt)] == ["de", "it"]


async def test_a_store_that_is_down_is_waited_for() -> None:
    """The projector stops, and goes on by itself when the store is back."""
    made, models = World(), MemoryReadModels()
    await three(made)
    with stamina.set_testing(True, attempts=1000):
        running = projector(made, models)
        task = asyncio.create_task(running.run(until=end_of(made.streams) + 2))
        async with asyncio.timeout(5):
            while running.position < end_of(made.streams):
                await asyncio.sleep(0)
            models.down = True
            await made.do(PutContact(uid="dan", locale="it"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert running.position < end_of(made.streams)
            models.down = False
            await task
    assert await name_of(models, "dan") == "it"


async def test_another_log_stops_the_projector_before_it_writes() -> None:
    """An epoch, a digest or an end that differ from the checkpoint's."""
    made, models = World(), MemoryReadModels()
    await three(made)
    await project(made, models)
    before = models.content()
    good = models.checkpoints["contacts", EVENTS]
    for bad in (
        Checkpoint(EVENTS, good.position, "another-epoch", good.digest),
        Checkpoint(EVENTS, good.position, good.epoch, "another digest"),
        Checkpoint(EVENTS, good.position + 5, good.epoch, good.digest),
    ):
        for projection in ALL:
            models.checkpoints[projection.name, EVENTS] = bad
        with pytest.raises(LogMismatch):
            await project(made, models, until=good.position + 10)
    assert models.content() == before


async def test_projections_catch_up_from_different_places() -> None:
    """One that is new starts at the beginning; the others don't go back for it."""
    made, models = World(), MemoryReadModels()
    await three(made)
    others = [each for each in ALL if each.name != "contacts"]
    await project(made, models, others)
    await made.do(PutContact(uid="dan", locale="it"))
    await project(made, models)
    assert await name_of(models, "dan") == "it"
    assert {each.position for (_, stream), each in models.checkpoints.items() if stream == EVENTS} == {
        end_of(made.streams)
    }


@settings(max_examples=20)
@given(st.lists(st.integers(0, 9), max_size=6))
async def test_a_rebuild_equals_what_grew_bit_by_bit(stops: list[int]) -> None:
    """Projecting with stops anywhere, and restarts, gives what projecting at once gives."""
    made, grown, rebuilt = World(), MemoryReadModels(), MemoryReadModels()
    await open_thread(made)
    await subscribe(made, "ann", "bob", phone=True, mail=True)
    end = end_of(made.streams)
    for stop in sorted(min(end, end * each // 9) for each in stops):
        if stop:
            await project(made, grown, until=stop)
    await project(made, grown)
    await project(made, rebuilt)
    assert grown.content() == rebuilt.content()


async def test_a_wait_for_the_read_models_ends() -> None:
    """The watermark is reached when all projections asked for have passed, else the wait times out."""
    models = MemoryReadModels()
    mark = Watermark(models, local=True)
    mark.advance("a", EVENTS, 5)
    with pytest.raises(TimeoutError):
        await mark.passed(("a", "b"), EVENTS, 5, timeout_s=0.01)
    waiting = asyncio.create_task(mark.passed(("a", "b"), EVENTS, 5, timeout_s=5))
    await asyncio.sleep(0)
    mark.advance("b", EVENTS, 4)
    await asyncio.sleep(0)
    assert not waiting.done()
    mark.advance("b", EVENTS, 6)
    mark.advance("b", EVENTS, 3)
    await waiting
    assert mark.applied(("a", "b"), EVENTS) == 5


async def test_without_a_projector_beside_it_the_checkpoints_tell() -> None:
    """Another process' progress is read from the store."""
    made, models = World(), MemoryReadModels()
    await three(made)
    mark = Watermark(models, local=False)
    await project(made, models)
    await mark.passed(("contacts", "reach"), EVENTS, end_of(made.streams), timeout_s=5)


async def test_a_log_without_facts_is_followed() -> None:
    """An empty log is no error: the first fact is shown when it comes."""
    made, models = World(), MemoryReadModels()
    task = asyncio.create_task(project(made, models, until=1))
    await asyncio.sleep(0)
    await made.do(PutContact(uid="ann"))
    await task
    assert await contacts.find(models, REALM, IDS.contact(REALM, "ann")) is not None
