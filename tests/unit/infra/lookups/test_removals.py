"""Which contacts were erased: remembered, never taken back, and looked up when it is not known."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

import infra.lookups.removals
from commands.contacts import EraseContact
from domain.contact import Contact
from domain.errors import Unavailable
from infra.lookups.removals import RememberedRemovals
from infra.lookups.resolutions import FollowedResolutions
from tests.memory.counting_store import CountingStore
from tests.memory.devices import identify
from tests.memory.world import World


class Scene:
    def __init__(self) -> None:
        self.world = World()
        self.store = CountingStore(self.world.own.store)
        self.removals = RememberedRemovals(self.store, contacts_max=3)  # type: ignore[arg-type]

    async def erase(self, contact: UUID) -> None:
        found = await self.world.own.store.load(Contact, contact)
        assert found is not None
        await self.world.do(EraseContact(uid=found.uid))


async def test_a_contact_is_looked_up_once() -> None:
    """And then known, as long as somebody follows the erasures."""
    made = Scene()
    contact = await identify(made.world)
    made.removals.begin()
    assert [await made.removals.is_removed(contact) for _ in range(3)] == [False] * 3
    assert made.store.loads == 1
    made.removals.end()
    await made.erase(contact)
    assert await made.removals.is_removed(contact)


async def test_nothing_is_believed_for_long_while_nobody_follows() -> None:
    """Each question is a look, but for those who were erased."""
    made = Scene()
    contact = await identify(made.world)
    assert [await made.removals.is_removed(contact) for _ in range(2)] == [False, False]
    assert made.store.loads == 2
    await made.erase(contact)
    assert [await made.removals.is_removed(contact) for _ in range(2)] == [True, True]
    assert made.store.loads == 3


async def test_an_erasure_during_a_look_is_seen() -> None:
    """The look has read that nobody was erased, and comes back after the news."""
    made = Scene()
    contact = await identify(made.world)
    made.removals.begin()
    made.store.gate.clear()
    look = asyncio.create_task(made.removals.is_removed(contact))
    await made.store.reached.wait()
    made.removals.note(contact)
    made.store.gate.set()
    assert await look
    assert await made.removals.is_removed(contact)


async def test_a_look_from_before_a_gap_is_not_remembered() -> None:
    """Whoever follows ended and began anew meanwhile, and may have missed the erasure."""
    made = Scene()
    contact = await identify(made.world)
    made.removals.begin()
    made.store.gate.clear()
    look = asyncio.create_task(made.removals.is_removed(contact))
    await made.store.reached.wait()
    made.removals.end()
    await made.erase(contact)
    made.removals.begin()
    made.store.gate.set()
    await look
    assert await made.removals.is_removed(contact)


async def test_the_memory_is_bounded() -> None:
    """Whoever was asked for first is looked up again."""
    made = Scene()
    made.removals.begin()
    contacts = [uuid4() for _ in range(4)]
    for contact in contacts:
        assert not await made.removals.is_removed(contact)
    await made.removals.is_removed(contacts[-1])
    assert made.store.loads == 4
    await made.removals.is_removed(contacts[0])
    assert made.store.loads == 5


async def test_a_log_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, and not remembered."""
    made = Scene()
    contact = await identify(made.world)
    monkeypatch.setattr(infra.lookups.removals, "LOOK_S_MAX", 0.01)
    made.removals.begin()
    made.store.gate.clear()
    with pytest.raises(Unavailable):
        await made.removals.is_removed(contact)
    made.store.gate.set()
    assert not await made.removals.is_removed(contact)


async def test_who_follows_the_contacts_tells_of_erasures() -> None:
    """Known without a further look, by the process that reads the contacts' events anyway."""
    made = Scene()
    contact = await identify(made.world)
    followed = FollowedResolutions(made.world.own.log, made.store)  # type: ignore[arg-type]
    following = asyncio.create_task(followed.run())
    await made.world.quiet()
    assert not await followed.removals.is_removed(contact)
    await made.erase(contact)
    await made.world.quiet()
    assert await followed.removals.is_removed(contact)
    assert made.store.loads == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
