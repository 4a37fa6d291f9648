"""Clients of devices on a real log: moves are one step, and other systems are told of every change, in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest

from commands.bus import Bus
from commands.port import ThreadDirectory
from commands.sdk_clients import Device, MoveIn, RegisterClient, SetPushToken, Standing
from commands.sdk_contacts import IdentifyContact
from domain.client import Client
from domain.contact import Identity
from domain.context import Context
from domain.devices.client_state import StateChange, state_subject
from domain.ids import Ids
from domain.recorded import EVENTS, STATES
from infra.log.log import JetStreamLog
from infra.log.states import open_states
from processes.devices.client_states import ClientStates
from tests.memory.world import carries_anything

PATIENCE_S = 15.0
APP, OTHER = "shop.app", "other"
KEPT = timedelta(days=7)


class NoThreads:
    async def thread(self, id: object) -> None:
        return None

    async def is_erased(self, contact: object) -> bool:
        return False


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def bus(log: JetStreamLog) -> Bus:
    nonces = itertools.count()
    directory: ThreadDirectory = NoThreads()
    ids = Ids(b"an id key for tests, of 32 bytes")
    return Bus(log.events, directory, carries_anything, ids, now, lambda: f"{next(nonces):032x}")


async def life(bus: Bus, name: str) -> Device:
    """A device registers, gets a push token, is signed in on, and moves to another app."""
    context = Context("main", name)
    stood: Standing = await bus.execute(RegisterClient(device=device(name), properties={}), context)
    here = msgspec.structs.replace(device(name), client=stood.client)
    await bus.execute(SetPushToken(device=here, token=f"token-of-{name}"), context)
    await bus.execute(IdentifyContact(device=here, identity=Identity(3, "ann@example.org")), context)
    there = device(name, OTHER)
    move = MoveIn(device=there, source=stood.client, with_contact=True)
    first: Standing = await bus.execute(move, context)
    again: Standing = await bus.execute(move, context)
    assert first.client == again.client
    return here


def device(name: str, app: str = APP) -> Device:
    return Device(app=app, client_id=name)


@asynccontextmanager
async def telling(log: JetStreamLog, number: int) -> AsyncIterator[None]:
    """So many processes that share the work."""
    states = await open_states(log.js)
    running = [
        asyncio.create_task(ClientStates(log=log, states=states, clock=now, kept=KEPT).run())
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def told(log: JetStreamLog, subject: str) -> list[StateChange]:
    stored = await log.js.read(STATES, subject, limit=100)
    return [msgspec.json.decode(each.data, type=StateChange) for each in stored]


async def test_a_move_is_one_step_and_everything_is_told_in_order(log: JetStreamLog, bus: Bus) -> None:
    """By two processes that share the work; the last of a client's changes is how its events fold."""
    async with telling(log, 2):
        devices = [await life(bus, f"device-{number}") for number in range(5)]
        for each in devices:
            assert each.client is not None
            client = await log.events.load(Client, each.client, fresh=True)
            assert client is not None
            assert (client.contact, client.token) == (None, None)
            assert client.moved_to is not None
            successor = await log.events.load(Client, client.moved_to, fresh=True)
            assert successor is not None
            assert successor.address == f"token-of-{each.client_id}"
            changes = await until_moved(log, state_subject(APP, client.id))
            assert changes[0].old is None
            assert all(before.new == after.old for before, after in pairwise(changes))
            assert all(before.position < after.position for before, after in pairwise(changes))
            moved = await log.last(EVENTS, f"evt.client.*.{client.id.hex}")
            assert moved is not None
            assert changes[-1].position == moved.position


async def until_moved(log: JetStreamLog, subject: str) -> list[StateChange]:
    async with asyncio.timeout(PATIENCE_S):
        while not (changes := await told(log, subject)) or changes[-1].new.moved_to is None:
            await asyncio.sleep(0.02)
    return changes
