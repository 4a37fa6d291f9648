"""What other systems are told of clients: every change, in order, whatever happens to who tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest

from commands.sdk_clients import ClearPushToken, Device, RegisterClient, SetPushToken, Standing
from commands.sdk_contacts import IdentifyContact, MakeAnonymous
from domain.contact import Identity
from domain.devices.client_state import StateChange, state_subject
from domain.recorded import Recorded
from processes.devices.client_states import NEXT_MAX, ClientStates
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.ports.log import MemoryLog
from tests.memory.ports.states import MemoryStates
from tests.memory.world import World, world

APP = "EMS.1"
ROLE = "client-states"
FAULTS = (Fault.DEATH, Fault.LOST_ANSWER, Fault.LOST_WORD)


def told(made: World) -> list[StateChange]:
    return MemoryStates(made.streams).told()


async def scenario(made: World) -> None:
    """Two devices, one of which is used by two people."""
    await one_device(made, "one")
    await made.do(ClearPushToken(device=await one_device(made, "two")))
    await made.rest()


async def one_device(made: World, name: str) -> Device:
    device = Device(app=APP, client_id=name)
    stood: Standing = await made.do(RegisterClient(device=device, properties={"platform": "ios"}))
    device = Device(app=APP, client_id=name, client=stood.client)
    await made.do(SetPushToken(device=device, token=f"secret-{name}"))
    await made.do(MakeAnonymous(device=device))
    await made.do(IdentifyContact(device=device, identity=Identity(3, "ann@example.org")))
    await made.quiet()
    return device


def assert_whole_story(changes: list[StateChange]) -> None:
    by_client: dict[object, list[StateChange]] = {}
    for change in changes:
        by_client.setdefault(change.client, []).append(change)
    assert sorted(len(each) for each in by_client.values()) == [4, 5]
    for each in by_client.values():
        assert each[0].old is None
        assert all(before.new == after.old for before, after in pairwise(each))
        assert all(before.position < after.position for before, after in pairwise(each))


async def test_every_change_is_told_with_what_was_before() -> None:
    """On the client's own subject, and with neither its push token nor what its contact is named by."""
    async with world(roles=(ROLE,)) as made:
        await scenario(made)
        changes = told(made)
        assert_whole_story(changes)
        subjects = {stored.subject for stored in made.streams.messages["STATES"]}
        assert subjects == {state_subject(APP, change.client) for change in changes}
        assert all(subject.startswith("state.client.ems%2E1.") for subject in subjects)
        shown = b"".join(stored.data for stored in made.streams.messages["STATES"])
        assert b"secret" not in shown
        assert b"ann@example.org" not in shown


async def steps_of(life: Lifeline) -> list[str]:
    async with world(roles=()) as made:
        made.start(ROLE, life)
        await scenario(made)
        assert_whole_story(told(made))
    return life.steps


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_change_is_told_once_whatever_breaks(fault: Fault) -> None:
    """After every single step."""
    count = len(await steps_of(Lifeline()))
    assert count > 15
    for at in range(1, count + 1):
        await steps_of(Lifeline(fault, at))


async def test_two_that_tell_do_not_tell_twice() -> None:
    """Processes of the role share the work, and each client's order holds."""
    async with world(roles=(ROLE, ROLE)) as made:
        await scenario(made)
        assert_whole_story(told(made))


async def test_what_was_told_and_forgotten_is_not_told_again() -> None:
    """A change that comes after the stream has dropped the client's older ones is told alone."""
    async with world(roles=(ROLE,)) as made:
        await scenario(made)
        last = told(made)[-1]
        made.streams.forget("STATES")
        made.clock.advance(8 * 86_400)
        device = Device(app=APP, client_id="two", client=last.client)
        await made.do(SetPushToken(device=device, token="another"))
        await made.rest()
        [change] = told(made)
        assert change.old == last.new


class Reads(MemoryLog):
    """Counts the facts that are read besides those handed out."""

    facts = 0

    async def read(self, stream: str, subject: str, *, after: int = 0, limit: int = 1000) -> list[Recorded]:
        found = await super().read(stream, subject, after=after, limit=limit)
        self.facts += len(found)
        return found


@asynccontextmanager
async def telling(made: World) -> AsyncIterator[Reads]:
    log = Reads(made.streams, made.own.keys)
    states = MemoryStates(made.streams)
    running = asyncio.create_task(
        ClientStates(log=log, states=states, clock=made.clock, kept=timedelta(days=7)).run()
    )
    yield log
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def changed(made: World, device: Device, count: int) -> None:
    for number in range(count):
        await made.do(SetPushToken(device=device, token=f"token-{number}"))
        await made.do(ClearPushToken(device=device))
    await made.rest()


async def test_an_event_is_told_at_the_cost_of_one_however_much_came_before() -> None:
    """A client's history is read once, not again for each of its events; nor is all of a backlog."""
    async with world(roles=()) as made, telling(made) as log:
        device = await one_device(made, "one")
        await changed(made, device, 30)
        events = len(made.streams.messages["EVENTS"])
        assert log.facts <= (NEXT_MAX + 1) * events
        changes = told(made)
        assert len(changes) > 60
        assert all(before.new == after.old for before, after in pairwise(changes))


async def test_what_another_process_told_meanwhile_is_taken_up() -> None:
    """One that remembers a client goes on behind what others told of it, and tells nothing twice."""
    async with world(roles=()) as made, telling(made):
        device = await one_device(made, "one")
        await made.rest()
        async with telling(made):
            await changed(made, device, 10)
        await changed(made, device, 3)
        changes = told(made)
        assert len(changes) >= 4 + 20
        assert all(before.new == after.old for before, after in pairwise(changes))
        assert all(before.position < after.position for before, after in pairwise(changes))
