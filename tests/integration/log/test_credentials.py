"""Signing in with a credentials file, on a real server that trusts an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.wiring.endpoints import configured_endpoint
from infra.nats.jetstream import JetStream
from infra.nats.server import NatsServer, ServerConfig, running_server
from infra.nats.streams import StreamSettings, ensure
from infra.nats.wire.connection import connected
from infra.nats.wire.errors import Denied
from tests.fixtures.credentials import NatsAccounts
from tests.fixtures.sessions import session_of

ACCOUNTS = NatsAccounts()


@pytest_asyncio.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """A server where an operator's JWTs say who may what."""
    folder = tmp_path_factory.mktemp("nats")
    config = ServerConfig(folder=folder, sync="2m", authorization=ACCOUNTS.configuration)
    async with running_server(config) as server:
        yield server


async def test_who_has_a_credentials_file_signs_in(tmp_path: Path, guarded: NatsServer) -> None:
    """By MSGXC_NATS_CREDS, with all that the account may: its streams are made."""
    creds = tmp_path / "api.creds"
    creds.write_text(ACCOUNTS.creds())
    session = session_of(tmp_path / "data", NATS_URL=guarded.url, NATS_CREDS=str(creds))
    endpoint = configured_endpoint(session, name="test")
    assert endpoint is not None
    async with connected(endpoint) as connection:
        assert await ensure(JetStream(connection), StreamSettings(), only=["EVENTS"]) == []


async def test_a_user_of_another_operator_is_refused(tmp_path: Path, guarded: NatsServer) -> None:
    """In one line, at once."""
    creds = tmp_path / "stranger.creds"
    creds.write_text(NatsAccounts().creds())
    session = session_of(tmp_path / "data", NATS_URL=guarded.url, NATS_CREDS=str(creds))
    endpoint = configured_endpoint(session, name="test")
    assert endpoint is not None
    with pytest.raises(Denied, match="refuses our token or credentials"):
        async with connected(endpoint):
            pass
