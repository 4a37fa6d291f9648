"""A role works without any right to make, change, purge or delete a stream."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from domain.errors import Unavailable
from infra.nats.jetstream import JetStream
from infra.nats.rights import ROLES, accounts, password_of
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.streams import KEYS_STREAM, StreamSettings, ensure, stream_configs
from infra.nats.wire.connection import Endpoint, connected
from infra.nats.wire.errors import NoAnswer


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
    "project": ("triage.x.y", "updates.store.x", "$KV.SHOP_CLAIMS.x"),
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
        js = JetStream(connection)
        requests = [
            f"STREAM.{request}.{name}"
            for request in ("UPDATE", "DELETE", "PURGE", "SNAPSHOT", "MSG.DELETE")
            for name in (config["name"] for config in stream_configs(StreamSettings()))
            if (request, name, role) != ("MSG.DELETE", KEYS_STREAM, "dispatch")  # which destroys keys
        ]
        refused = await asyncio.gather(
            *(js.api(each, {}, timeout_s=0.5) for each in requests), return_exceptions=True
        )
        assert {type(each) for each in refused} == {NoAnswer}, dict(zip(requests, refused, strict=True))
