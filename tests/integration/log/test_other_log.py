"""A log that lost its tail, or another log: every consumer notices, and nothing is written."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.recorded import DELIVERY, EVENTS, Checkpoint, Recorded
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.guard import Guard, OtherLog
from infra.nats.jetstream import JetStream, StreamInfo
from infra.nats.server import NatsServer
from infra.nats.streams import open_epoch
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Stored
from processes.port import Append, LogMismatch
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.proxy import proxy_to
from tests.integration.log.scenes import AT, CONTEXT, a_thread, an_attempt, everything

Damage = Callable[[NatsServer], Awaitable[None]]


async def lose_the_tail(server: NatsServer) -> None:
    """Put the folder back to where it was at two events, and start on it."""
    folder = server.config.folder
    await server.kill()
    shutil.rmtree(folder / "jetstream")
    shutil.copytree(folder / "earlier", folder / "jetstream")
    await server.start()


async def become_another(server: NatsServer) -> None:
    """Start on an empty folder, in which somebody makes streams of the same names."""
    await server.kill()
    shutil.rmtree(server.config.folder / "jetstream")
    await server.start()
    async with open_log(log_config(server), master_key=MASTER_KEY):
        pass


async def with_earlier_state(server: NatsServer) -> None:
    """Two events and a record, kept aside; then more."""
    async with open_log(log_config(server), master_key=MASTER_KEY) as log:
        await write(log, 2)
    await server.kill()
    shutil.copytree(server.config.folder / "jetstream", server.config.folder / "earlier")
    await server.start()


async def write(log: JetStreamLog, times: int) -> None:
    for _ in range(times):
        thread = a_thread()
        await log.events.save(thread, context=CONTEXT)
        await log.append(Append(f"attempt.apns.{thread.id.hex}", an_attempt(thread.id.hex), 0))


@pytest.mark.parametrize("damage", [lose_the_tail, become_another])
async def test_a_running_process_notices_and_writes_nothing(own_server: NatsServer, damage: Damage) -> None:
    """A reader and a worker that go on reading stop with LogMismatch; a save and an append are refused."""
    await with_earlier_state(own_server)
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        reading = log.follow(EVENTS, None)
        working = log.work(DELIVERY, "w", subjects=["attempt.>"], in_flight=50)
        await write(log, 3)
        await read_to_the_end(log, reading)
        async with asyncio.timeout(15):
            for _ in range(5):
                await (await anext(working)).ack()
        await damage(own_server)
        end = await log.end(EVENTS)
        with pytest.raises(LogMismatch):
            async with asyncio.timeout(15):
                await anext(reading)
        with pytest.raises(LogMismatch):
            async with asyncio.timeout(15):
                await anext(working)
        with pytest.raises(Unavailable):
            await log.events.save(a_thread(), context=CONTEXT)
        with pytest.raises(Unavailable):
            await log.append(Append("attempt.apns.d9", an_attempt("d9"), 0))
        assert await log.end(EVENTS) == end


async def test_what_waits_for_the_connection_is_not_sent_to_another_log(own_server: NatsServer) -> None:
    """A save and a save of two events begun while there is no connection: the one that comes is checked first."""
    await with_earlier_state(own_server)
    async with (
        proxy_to(own_server.port) as proxy,
        open_log(log_config(own_server, url=proxy.url), master_key=MASTER_KEY) as log,
    ):
        await write(log, 1)
        proxy.cut(refuse=True)
        await become_another(own_server)
        closed = a_thread()
        closed.close(at=AT)
        saving = [
            asyncio.create_task(log.events.save(each, context=CONTEXT)) for each in (a_thread(), closed)
        ]
        await asyncio.sleep(0)
        proxy.admit()
        failures = await asyncio.gather(*saving, return_exceptions=True)
        assert [type(failure) for failure in failures] == [OtherLog, OtherLog]
        assert await log.end(EVENTS) == 0


@pytest.mark.parametrize("damage", [lose_the_tail, become_another])
async def test_a_process_that_starts_again_notices_by_its_checkpoint(
    own_server: NatsServer, damage: Damage
) -> None:
    """Positions are given out a second time after a lost tail; the checkpoint's digest and epoch tell."""
    await with_earlier_state(own_server)
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        await write(log, 3)
        facts = await everything(log, batch=1)
        epoch = await log.epoch(EVENTS)
    await damage(own_server)
    async with open_log(log_config(own_server), master_key=MASTER_KEY) as log:
        for fact in facts[2:]:
            with pytest.raises(LogMismatch):
                await anext(log.follow(EVENTS, checkpoint(fact, epoch)))
        await write(log, 5)
        with pytest.raises(LogMismatch):
            await anext(log.follow(EVENTS, checkpoint(facts[3], epoch)))


async def test_a_new_epoch_invalidates_checkpoints(log: JetStreamLog) -> None:
    """A restore opens a new epoch; whoever stands in the old one is told, though the facts are the same."""
    await write(log, 2)
    fact = (await everything(log))[-1]
    old = await log.epoch(EVENTS)
    new = await open_epoch(log.js, EVENTS)
    assert new != old
    with pytest.raises(LogMismatch):
        await anext(log.follow(EVENTS, checkpoint(fact, old)))
    info = await log.js.info(EVENTS)
    assert info is not None
    assert info.config["deny_delete"]
    assert info.state.last_seq == 2


def checkpoint(fact: Recorded, epoch: str) -> Checkpoint:
    return Checkpoint(fact.stream, fact.position, epoch, fact.digest)


async def read_to_the_end(log: JetStreamLog, reading: AsyncIterator[object]) -> None:
    end = await log.end(EVENTS)
    async with asyncio.timeout(15):
        async for batch in reading:
            assert isinstance(batch, list)
            if batch[-1].position == end:
                return


def _nothing() -> None:
    """Nobody else is about."""


class Meanwhile(JetStream):
    """Answers truly, but late: between the leader's word and its arrival something else is acknowledged."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.meanwhile: Callable[[], None] = _nothing

    async def info(self, stream: str) -> StreamInfo | None:
        found = await super().info(stream)
        self.meanwhile()
        return found

    async def leader_get(self, stream: str, **options: Any) -> Stored | None:
        found = await super().leader_get(stream, **options)
        self.meanwhile()
        return found


async def test_appends_under_way_are_no_sign_of_another_log(log: JetStreamLog) -> None:
    """What is acknowledged while the guard asks is newer than the answer: the log is still the same."""
    await write(log, 2)
    js = Meanwhile(log.js.connection)
    guard = Guard(js)
    await guard.begin([EVENTS])
    end = await log.end(EVENTS)
    last = await log.js.leader_get(EVENTS, seq=end)
    assert last is not None
    known = guard.known(EVENTS)
    known.saw(end, last.data)
    newer = itertools.count(end + 1)
    js.meanwhile = lambda: known.saw(next(newer), b"acknowledged meanwhile")
    log.js.connection.generation += 1  # as after a reconnect
    await guard.assert_same(EVENTS)
    assert known.is_checked(log.js.connection.generation)
