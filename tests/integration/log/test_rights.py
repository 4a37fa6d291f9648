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
from infra.nats.rights import ROLES, accounts, authorization, password_of
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


@pytest_asyncio.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with a user for each role, as in schema/accounts.conf."""
    passwords = "".join(f"{password_of(user)}: {user}\n" for user in ("operator", *ROLES))
    server = NatsServer(
        ServerConfig(folder=tmp_path / "nats", sync="2m", authorization=passwords + accounts())
    )
    await server.start()
    async with connected(Endpoint(urls=server.url, user="operator", password="operator")) as connection:
        await ensure(JetStream(connection), StreamSettings())
    try:
        yield server
    finally:
        await server.stop()


MAY = {
    "api": ("evt.contact.00.x", "receipt.sms.x", "signal.events.00.x", "updates.store.x"),
    "project": ("triage.x.y",),
    "dispatch": ("evt.message.00.x", "audience.x.0", "dispatch.apns.live.x.0.1", "feed.thread.x"),
    "resolve": ("evt.client.00.x", "state.client.x"),
    "gateway-apns": ("attempt.apns.x", "outcome.apns.x"),
}
MAY_NOT = {
    "api": ("audience.x.0", "dispatch.apns.live.x.0.1", "outcome.apns.x", "feed.thread.x"),
    "project": ("evt.contact.00.x", "outcome.apns.x", "feed.thread.x"),
    "dispatch": ("attempt.apns.x", "signal.events.00.x", "updates.store.x"),
    "resolve": ("audience.x.0", "outcome.apns.x", "feed.thread.x"),
    "gateway-apns": ("attempt.fcm.x", "outcome.fcm.x", "evt.client.00.x", "feed.thread.x", "$KV.KEYS.x"),
}


@pytest.mark.parametrize("role", MAY)
async def test_a_role_writes_its_own_subjects_and_no_others(guarded: NatsServer, role: str) -> None:
    """What it may not is refused by the server, which stores nothing of it; no role touches a stream."""
    async with connected(Endpoint(urls=guarded.url, user=role, password=role)) as connection:
        for subject in MAY[role]:
            assert b'"seq"' in (await connection.ask(subject, b"{}")).data
        for subject in MAY_NOT[role]:
            with pytest.raises(Unavailable):
                await connection.ask(subject, b"{}", timeout_s=0.1)
        for request in ("UPDATE", "DELETE", "PURGE", "SNAPSHOT", "MSG.DELETE"):
            with pytest.raises(Unavailable):
                await JetStream(connection).api(f"STREAM.{request}.EVENTS", {}, timeout_s=0.1)
