"""The event store on a real server: what commands rely on."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from commands.port import VersionConflict
from domain.client import Client
from domain.contact import Contact
from domain.errors import Conflict
from domain.recorded import EVENTS
from domain.thread import Settings, Thread
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import AT, CONTEXT, a_thread

NO_ADDRESS: dict[str, Any] = {
    "contact": None,
    "uid": None,
    "channel": None,
    "address": None,
    "token": None,
    "properties": {},
}


async def test_what_was_saved_is_loaded(log: JetStreamLog) -> None:
    """A save that returned is visible to a fresh load, whole and equal."""
    thread = a_thread()
    thread.change(at=AT, settings=Settings(name="other"))
    position = await log.events.save(thread, context=CONTEXT)
    assert position == 2
    assert not thread.pending_events
    assert await log.events.load(Thread, thread.id, fresh=True) == thread
    assert await log.events.load(Thread, uuid4(), fresh=True) is None


async def test_nothing_pending_is_nothing_saved(log: JetStreamLog) -> None:
    """The answer is 0, and the log is not even asked."""
    thread = a_thread()
    await log.events.save(thread, context=CONTEXT)
    assert await log.events.save(thread, context=CONTEXT) == 0
    assert await log.end(EVENTS) == 1


async def test_a_save_of_several_is_all_or_nothing(log: JetStreamLog) -> None:
    """One stale aggregate refuses the others' events, too, and nobody loses what was pending."""
    thread, other = a_thread(), a_thread("t2")
    await log.events.save(thread, context=CONTEXT)
    stale = await log.events.load(Thread, thread.id, fresh=True)
    assert stale is not None
    thread.close(at=AT)
    await log.events.save(thread, context=CONTEXT)
    stale.change(at=AT, settings=Settings(name="too late"))
    with pytest.raises(VersionConflict):
        await log.events.save(other, stale, context=CONTEXT)
    assert await log.end(EVENTS) == 2
    assert len(other.pending_events) == 1


async def test_a_loaded_aggregate_is_the_callers_own(log: JetStreamLog) -> None:
    """What one caller does to an aggregate is not seen by another before it is saved."""
    client = Client.register(id=uuid4(), at=AT, app="a", client_id="c", **NO_ADDRESS)
    await log.events.save(client, context=CONTEXT)
    one = await log.events.load(Client, client.id)
    assert one is not None
    one.properties["os"] = "changed by hand"
    two = await log.events.load(Client, client.id)
    assert two is not None
    assert two.properties == {}


async def test_a_claim_is_read_back_with_its_position(log: JetStreamLog) -> None:
    """From the leader, off the aggregate's first event."""
    thread = a_thread()
    assert await log.events.claim_of(Thread, thread.id) is None
    await log.events.save(thread, context=CONTEXT, claim="hash of parameters")
    assert await log.events.claim_of(Thread, thread.id) == (1, "hash of parameters")


async def test_one_of_eight_racing_writers_wins_each_version(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Eight writers on connections of their own, each round one version: exactly one gets it."""
    thread = a_thread()
    await log.events.save(thread, context=CONTEXT)
    rounds, writers = 25, 8
    won = [0] * rounds

    async def writer(number: int, own: JetStreamLog) -> None:
        for turn in range(rounds):
            mine = await own.events.load(Thread, thread.id, fresh=True)
            assert mine is not None
            while mine.version <= turn:
                mine = await own.events.load(Thread, thread.id, fresh=True)
                assert mine is not None
            if mine.version > turn + 1:
                continue
            mine.change(at=AT, settings=Settings(name=f"{turn} by {number}"))
            try:
                await own.events.save(mine, context=CONTEXT)
            except VersionConflict:
                continue
            won[turn] += 1

    async def alone(number: int) -> None:
        async with open_log(log_config(nats_server), master_key=MASTER_KEY) as own:
            await writer(number, own)

    await asyncio.gather(*(alone(number) for number in range(writers)))
    assert won == [1] * rounds
    assert await log.end(EVENTS) == rounds + 1


async def test_an_address_is_sealed_and_comes_back(log: JetStreamLog) -> None:
    """The address is nowhere on the log in the clear, and whoever has the keys reads it."""
    contact = Contact.create(id=uuid4(), at=AT, uid="u1")
    contact.set_address(at=AT, channel="sms", address="+34600000001", token=None)
    await log.events.save(contact, context=CONTEXT)
    raw = await log.js.direct_get(EVENTS, "evt.>")
    assert not any(b"+34600000001" in stored.data for stored in raw)
    loaded = await log.events.load(Contact, contact.id, fresh=True)
    assert loaded is not None
    assert loaded.addresses == {"sms": "+34600000001"}


async def test_what_a_destroyed_key_sealed_reads_none(log: JetStreamLog, nats_server: NatsServer) -> None:
    """After an erasure no process reads the address again, nor can anything new be sealed for that person."""
    contact = Contact.create(id=uuid4(), at=AT, uid="u1")
    contact.set_address(at=AT, channel="sms", address="+34600000001", token=None)
    await log.events.save(contact, context=CONTEXT)
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        seen = await other.events.load(Contact, contact.id)
        assert seen is not None
        assert seen.addresses["sms"]
        await log.keys.destroy(f"contact.{contact.id.hex}")
        async with asyncio.timeout(1):
            while (seen := await other.events.load(Contact, contact.id)) and seen.addresses["sms"]:
                await asyncio.sleep(0)
        assert seen is not None
        seen.set_address(at=AT, channel="sms", address="+34600000002", token=None)
        with pytest.raises(Conflict):
            await other.events.save(seen, context=CONTEXT)
