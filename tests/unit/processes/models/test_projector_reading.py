"""What the projector reads, passes unread and stores, and when: as little as its projections need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from commands.contacts import PutContact
from domain.recorded import EVENTS, Checkpoint
from infra.pausing import Gate, gated
from processes.models import projector as projecting
from processes.models.holds import source_of
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from projections.catalogue import ALL
from projections.contacts import Contacts
from projections.port import Projection, Write
from projections.threads import Threads
from tests.memory.people import open_thread, subscribe
from tests.memory.ports.read_models import MemoryReadModels
from tests.memory.projecting import end_of, name_of, poison, project, three
from tests.memory.world import World


class Followed:
    """A log that notes what of it was read, and counts the batches."""

    def __init__(self, made: World) -> None:
        self._log = made.own.log
        self.subjects: list[tuple[str, ...]] = []
        self.positions: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def follow(self, *place: Any, subjects: Sequence[str] = (), **options: Any) -> AsyncIterator[Any]:
        self.subjects.append(tuple(subjects))
        async for facts in self._log.follow(*place, subjects=subjects, **options):
            self.positions += [fact.position for fact in facts]
            yield facts


def fed(log: Any, models: Any, *projections: Projection) -> Projector:
    given_ = [(each, models.generation(each.name)) for each in projections]
    return Projector(log, EVENTS, given_, Watermark(models, local=True))


async def test_up_to_a_position_only_wanted_facts_are_read() -> None:
    """A rebuild stands where the log was, with the digest of what is there, whatever it has not read."""
    made, models, whole = World(), MemoryReadModels(), MemoryReadModels()
    await open_thread(made)
    await subscribe(made, "ann", "bob", phone=True, mail=True)
    await three(made)
    end = end_of(made.streams)
    log = Followed(made)
    async with asyncio.timeout(5):
        await fed(log, models, Threads()).run(until=end)
        await fed(made.own.log, whole, *ALL).run(until=end)
    assert log.subjects == [Threads.subjects[EVENTS]]
    assert 0 < len(log.positions) < end
    assert models.checkpoints["threads", EVENTS] == whole.checkpoints["threads", EVENTS]
    assert models.checkpoints["threads", EVENTS].position == end
    assert models.tables == {table.name: whole.tables[table.name] for table in Threads.tables}


async def test_what_nobody_wants_at_the_end_is_passed_unread() -> None:
    """Nothing to read is no reason to wait; a poison there is passed too, without a digest."""
    made, models = World(), MemoryReadModels()
    await three(made)
    for _ in range(2):
        log = Followed(made)
        async with asyncio.timeout(5):
            await fed(log, models, Threads()).run(until=end_of(made.streams))
        assert log.positions == []
        assert models.checkpoints["threads", EVENTS].position == end_of(made.streams)
        poison(made, "bob")
    assert models.checkpoints["threads", EVENTS].digest == ""
    assert made.streams.aside == {}


async def test_a_poison_among_what_is_wanted_is_put_aside_by_a_rebuild_too() -> None:
    """The newest wanted fact can't be read: it does not hide where reading has to end."""
    made, models = World(), MemoryReadModels()
    await three(made)
    poison(made, "bob")
    await project(made, models, [Contacts()])
    assert models.checkpoints["contacts", EVENTS].position == end_of(made.streams)
    assert [each.source for each in made.streams.aside.values()] == [source_of(models.generation("contacts"))]


class Counted:
    """Read models that count what is stored, page by page."""

    def __init__(self) -> None:
        self.models, self.stored = MemoryReadModels(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models.generation("threads"), name)

    def generation(self, projection: str) -> Any:
        return self

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        self.stored += 1
        await self.models.generation("threads").apply(writes, checkpoints)


async def test_a_checkpoint_without_rows_is_not_stored_for_every_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is known here at once, and stored after a moment of silence at the latest."""
    monkeypatch.setattr(projecting, "BATCH", 1)
    made, models = World(), Counted()
    for number in range(100):
        await made.do(PutContact(uid=f"uid-{number}"))
    end = end_of(made.streams)
    running = fed(made.own.log, models, Threads())
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(5):
        while running.position < end:
            await asyncio.sleep(0)
        assert models.stored < end // 2
        await Watermark(models.models, local=False).passed(("threads",), EVENTS, end)
    task.cancel()
    await asyncio.wait((task,))
    assert models.models.checkpoints["threads", EVENTS].digest


class Slow:
    """A generation that stores a page when it may."""

    def __init__(self, models: MemoryReadModels) -> None:
        self._models = models.generation("contacts")
        self.may, self.is_asked = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        self.is_asked.set()
        await self.may.wait()
        await self._models.apply(writes, checkpoints)


async def test_held_still_nothing_is_being_stored() -> None:
    """Who asks for a standstill is told of it once the page in hand is stored, not while it is."""
    made, models, gate = World(), MemoryReadModels(), Gate()
    await three(made)
    slow: Any = Slow(models)
    running = Projector(
        gated(made.own.log, gate), EVENTS, [(Contacts(), slow)], Watermark(models, local=True)
    )
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(5):
        await slow.is_asked.wait()
        closing = asyncio.create_task(gate.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done()
        slow.may.set()
        await closing
    assert await name_of(models, "cem") == "de"
    gate.open()
    task.cancel()
    await asyncio.wait((task,))
