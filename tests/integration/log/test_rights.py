"""A role works without any right to make, change, purge or delete a stream."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from domain.contact import Contact
from domain.errors import Unavailable
from domain.recorded import DELIVERY, EVENTS, Checkpoint
from infra.log.opened import LogConfig, open_log
from infra.nats.connection import Endpoint, connected
from infra.nats.jetstream import JetStream
from infra.nats.rights import authorization
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.streams import StreamSettings, ensure, stream_configs
from processes.port import Append, Frame
from tests.fixtures.nats import MASTER_KEY
from tests.integration.log.scenes import AT, CONTEXT, a_thread, an_attempt
from tests.memory.feeding import append_frames


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with two users, its streams made by the operator."""
    users = authorization(role_password="role", operator_password="operator")
    server = NatsServer(ServerConfig(folder=tmp_path / "nats", sync="2m", authorization=users))
    await server.start()
    async with connected(Endpoint(urls=server.url, user="operator", password="operator")) as connection:
        await ensure(JetStream(connection), StreamSettings())
    try:
        yield server
    finally:
        await server.stop()


async def test_a_role_does_all_its_work_and_nothing_to_the_streams(server: NatsServer) -> None:
    """Saves, reads, work, schedules, the feed and keys; every request that changes a stream goes unanswered."""
    endpoint = Endpoint(urls=server.url, user="msgxc", password="role")
    async with open_log(LogConfig(endpoint=endpoint), master_key=MASTER_KEY) as log:
        contact = Contact.create(id=a_thread().id, at=AT, uid="u")
        contact.set_address(at=AT, channel="sms", address="+34600000001", token=None)
        await log.events.save(contact, context=CONTEXT)
        await log.append(Append("attempt.apns.d", an_attempt("d"), 0))
        await append_frames(log.feed, Frame(subject="feed.thread.a", body=b"f", message="m"))
        await log.feed.note(Checkpoint(EVENTS, 1, await log.epoch(EVENTS)))
        await log.schedule("s", datetime.now(UTC), target="due.test.s", body=b"")
        await log.keys.destroy(f"contact.{contact.id.hex}")
        async with asyncio.timeout(15):
            assert len(await anext(log.follow(EVENTS, None))) == 2
            await (await anext(log.work(DELIVERY, "w", subjects=["attempt.>"]))).ack()
        for config in stream_configs(StreamSettings()):
            name = config["name"]
            for request in (f"DELETE.{name}", f"PURGE.{name}", f"UPDATE.{name}", f"SNAPSHOT.{name}"):
                with pytest.raises(Unavailable):
                    await log.js.api(f"STREAM.{request}", config, timeout_s=0.1)
        with pytest.raises(Unavailable):
            await log.js.api("STREAM.MSG.DELETE.DELIVERY", {"seq": 1}, timeout_s=0.1)
        for config in stream_configs(StreamSettings()):
            assert await log.js.info(config["name"]) is not None
        assert await log.end(DELIVERY) == 1
