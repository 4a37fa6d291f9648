"""Waiting for a contact's number: woken by its event, whenever it comes, and never asked for in a loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

import infra.lookups.resolutions
from commands.resolution import ResolveContact
from domain.errors import Unavailable
from infra.lookups.resolutions import FollowedResolutions
from tests.memory.counting_store import CountingStore
from tests.memory.devices import identify
from tests.memory.world import REALM, World

WAIT_S = 30.0
"""No test waits that long: a wake-up that does not come fails by the test's own time."""


class Scene:
    def __init__(self) -> None:
        self.world = World()
        self.store = CountingStore(self.world.own.store)
        self.waiting = FollowedResolutions(self.world.own.log, self.store)  # type: ignore[arg-type]

    async def resolve(self, contact: UUID, contact_id: int = 7, of: int = 2) -> None:
        await self.world.do(ResolveContact(contact=contact, contact_id=contact_id, of=of))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    following = asyncio.create_task(made.waiting.run())
    await made.world.quiet()
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_who_waits_is_woken_by_the_event(scene: Scene) -> None:
    """One look, then silence until the number comes; every waiter gets it, others stay as they are."""
    contact, other = await identify(scene.world), await identify(scene.world, "bob@example.org")
    waits = [asyncio.create_task(scene.waiting.resolved(REALM, contact, WAIT_S)) for _ in range(3)]
    elsewhere = asyncio.create_task(scene.waiting.resolved(REALM, other, WAIT_S))
    await scene.world.quiet()
    await scene.resolve(contact)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waits) == [7, 7, 7]
    assert scene.store.loads == 4
    assert not elsewhere.done()
    elsewhere.cancel()


async def test_a_number_that_is_there_is_answered_at_once(scene: Scene) -> None:
    """Who waits for a contact that has its number already gets it."""
    contact = await identify(scene.world)
    await scene.resolve(contact)
    assert await scene.waiting.resolved(REALM, contact, WAIT_S) == 7


async def test_a_number_between_the_look_and_the_wait_is_not_missed(scene: Scene) -> None:
    """The look has read nothing and has not come back yet when the event goes by."""
    contact = await identify(scene.world)
    scene.store.gate.clear()
    wait = asyncio.create_task(scene.waiting.resolved(REALM, contact, WAIT_S))
    await scene.store.reached.wait()
    await scene.resolve(contact)
    await scene.world.quiet()
    scene.store.gate.set()
    async with asyncio.timeout(5):
        assert await wait == 7
    assert scene.store.loads == 1


async def test_a_wait_ends_with_its_time(scene: Scene) -> None:
    """None, after a last look: for a process whose follower is away. Zero seconds are just a look."""
    contact = await identify(scene.world)
    assert await scene.waiting.resolved(REALM, contact, 0.01) is None
    assert scene.store.loads == 2
    assert await scene.waiting.resolved(REALM, contact, 0) is None
    assert scene.store.loads == 3


async def test_an_unknown_contact_has_no_number(scene: Scene) -> None:
    """Waiting for a contact that nobody made ends with the time-out and no number."""
    assert await scene.waiting.resolved(REALM, UUID(int=1), 0.01) is None


async def test_without_a_follower_the_last_look_finds_it() -> None:
    """The role is starting again while somebody waits: the number is late, not lost."""
    made = Scene()
    contact = await identify(made.world)
    wait = asyncio.create_task(made.waiting.resolved(REALM, contact, 0.05))
    await made.store.reached.wait()
    await made.resolve(contact)
    assert await wait == 7


async def test_waiters_are_bounded_and_leave_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many gets what there is; whoever left, cancelled too, is not remembered."""
    monkeypatch.setattr(infra.lookups.resolutions, "WAITERS_MAX", 2)
    contact = await identify(scene.world)
    waits = [asyncio.create_task(scene.waiting.resolved(REALM, contact, WAIT_S)) for _ in range(2)]
    await scene.world.quiet()
    assert await scene.waiting.resolved(REALM, contact, WAIT_S) is None
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    again = asyncio.create_task(scene.waiting.resolved(REALM, contact, WAIT_S))
    await scene.world.quiet()
    await scene.resolve(contact)
    assert await again == 7


async def test_a_log_that_is_away_is_said(scene: Scene) -> None:
    """Nobody is told that there is no number where nobody could look."""

    class Away:
        async def load(self, *_: object, **__: object) -> None:
            raise Unavailable("the log does not answer")

    waiting = FollowedResolutions(scene.world.own.log, Away())  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await waiting.resolved(REALM, UUID(int=1), 1)
