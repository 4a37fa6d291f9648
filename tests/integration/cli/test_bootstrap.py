"""The object graph on a real server: the right keys for the log, TLS where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.bootstrap import open_exchange, opened_log
from cli.wiring.endpoints import configured_endpoint
from domain.errors import Unavailable
from domain.recorded import EVENTS, Checkpoint
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.wire.connection import Endpoint, connected
from infra.secrets import SecretsError
from processes.port import LogMismatch
from projections.catalogue import ALL
from tests.fixtures.certificates import Certificates
from tests.fixtures.nats import wipe
from tests.fixtures.sessions import session_of


async def test_a_log_of_another_id_key_is_refused(nats_server: NatsServer, tmp_path: Path) -> None:
    """On a cluster, too: with another key every person would be somebody else. The error says what to set."""
    await wipe(nats_server)
    endpoint = Endpoint(urls=nats_server.url, token=nats_server.token)
    async with opened_log(session_of(tmp_path / "a"), endpoint):
        pass
    async with opened_log(session_of(tmp_path / "a"), endpoint):
        pass
    with pytest.raises(SecretsError, match="set MSGXC_ID_KEY to the one it began with"):
        async with opened_log(session_of(tmp_path / "b"), endpoint):
            pass
    await wipe(nats_server)


async def test_an_exchange_closes_what_it_opened(nats_server: NatsServer, tmp_path: Path) -> None:
    """Opened with a gateway and a store, and closed again, twice on the same data."""
    await wipe(nats_server)
    endpoint = Endpoint(urls=nats_server.url, token=nats_server.token)
    session = session_of(tmp_path)
    sms = {"account_sid": "AC" + "0" * 32, "auth_token": "t", "sender": "+15005550006"}
    for _ in range(2):
        async with open_exchange(session, endpoint, {"sms": sms}, projecting=True) as exchange:
            assert set(exchange.gateways) == {"sms"}
            assert await exchange.store.live("contacts") == 1
    await wipe(nats_server)


async def test_nothing_is_opened_on_a_log_that_the_read_models_were_not_made_of(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A log that lost its tail would give positions out twice: no role of the process may begin to write to it."""
    await wipe(nats_server)
    endpoint = Endpoint(urls=nats_server.url, token=nats_server.token)
    session = session_of(tmp_path)
    contacts = next(each for each in ALL if each.name == "contacts")
    async with open_exchange(session, endpoint, {}, projecting=True) as exchange:
        models = await exchange.store.generation(contacts.name, 1, contacts.tables)
        await models.apply([], [Checkpoint(EVENTS, 2, await exchange.log.epoch(EVENTS), "what was at 2")])
    with pytest.raises(LogMismatch, match=r"EVENTS ends at 0, the checkpoint is at 2.*put that log back"):
        async with open_exchange(session, endpoint, {}, projecting=False):
            pass
    await wipe(nats_server)


async def test_nats_by_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    """tls:// and MSGXC_CA_FILE: the server's certificate is checked against it, and against nothing else."""
    certificates = Certificates(tmp_path / "good")
    stranger = Certificates(tmp_path / "other")
    chain = tmp_path / "good" / "chain.pem"
    tls = f'tls {{ cert_file: "{chain}", key_file: "{chain}", timeout: 5 }}'
    server = NatsServer(ServerConfig(folder=tmp_path / "nats", sync="2m", extra=tls))
    await server.start()
    try:
        url = f"tls://{server.token}@127.0.0.1:{server.port}"
        endpoint = configured_endpoint(
            session_of(tmp_path / "a", NATS_URL=url, CA_FILE=certificates.ca_file), name="t"
        )
        assert endpoint is not None
        async with connected(endpoint) as connection:
            assert connection.is_connected
        wrong = configured_endpoint(
            session_of(tmp_path / "b", NATS_URL=url, CA_FILE=stranger.ca_file), name="t"
        )
        assert wrong is not None
        with pytest.raises(Unavailable, match="certificate verify failed"):
            async with connected(wrong, open_s_max=2.0):
                pass
    finally:
        await server.stop()
