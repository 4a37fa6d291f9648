"""Keys and channels that cannot be used, where settings alone could not tell: one line that names the setting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.console import Failure
from cli.session import Session
from cli.upkeep.checkup import checkup
from cli.wiring.channels import build_gateway, gateway_configs
from cli.wiring.endpoints import configured_endpoint
from cli.wiring.jwks import verifying_keys
from cli.wiring.signing import local_keys
from cli.wiring.stores import open_store
from cli.wiring.webdomains import superuser_keys
from domain.errors import Unavailable
from infra.nats.server import NatsServer
from infra.nats.wire.connection import connected
from infra.nats.wire.errors import Disconnected
from infra.readstore.cassandra.config import CassandraConfig
from infra.settings import SettingsError
from tests.fixtures.exchange import RunningExchange
from tests.fixtures.nats import wipe
from tests.fixtures.sessions import session_of

PUBLIC_ONLY = '{"keys": [{"kty": "RSA", "use": "enc", "n": "x", "e": "AQAB"}]}'


def channels_of(session: Session) -> None:
    for channel, config in gateway_configs(session.settings, session.keyring, sandbox=None).items():
        build_gateway(channel, config)


def superusers_of(session: Session) -> None:
    superuser_keys(session.settings.doppler.keys)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("JWT_KEYS", "no JSON", verifying_keys),
        ("JWT_KEYS", '{"keys": []}', verifying_keys),
        ("JWT_KEYS", PUBLIC_ONLY, verifying_keys),
        ("JWT_KEYS", '{"keys": [{"kty": "oct", "k": "AAAA"}]}', verifying_keys),
        ("SDK_KEYS_FILE", "5e5e5e", local_keys),
        ("DOPPLER_KEYS", "no key", superusers_of),
        ("CHANNELS_FILE", '{"pigeon": {}}', channels_of),
        ("CHANNELS_FILE", '{"sms": {"auth_token": "t"}}', channels_of),
    ],
)
def test_a_file_that_cannot_be_used(
    name: str, content: str, read: Callable[[Session], Any], tmp_path: Path
) -> None:
    """It is refused where it is read, by the name of its setting."""
    file = tmp_path / "file"
    file.write_text(content)
    session = session_of(tmp_path / "data", **{name: str(file)})
    with pytest.raises((SettingsError, Failure)) as caught:
        read(session)
    assert str(caught.value).startswith(f"MSGXC_{name}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_folder_of_keys(tmp_path: Path) -> None:
    """No token could be verified: nobody is let in, and nothing would say why."""
    (tmp_path / "keys").mkdir()
    session = session_of(tmp_path / "data", JWT_KEYS=str(tmp_path / "keys"))
    with pytest.raises(SettingsError, match=r"MSGXC_JWT_KEYS: .* holds no key: write a JWKS"):
        verifying_keys(session)


@pytest.mark.parametrize("name", ["JWT_KEYS", "DOPPLER_KEYS", "CA_FILE"])
def test_nothing_starts_on_a_wrong_file(exchange: RunningExchange, name: str) -> None:
    """`msgxc serve` ends with one line, which names the setting; it does not try again for ever."""
    (exchange.folder / "wrong").write_text('{"keys": []}')
    exchange.environment[f"MSGXC_{name}"] = str(exchange.folder / "wrong")
    refused = exchange.command("serve", check=False)
    assert refused.returncode in {1, 2}
    assert refused.stderr.startswith(f"msgxc: MSGXC_{name}")
    assert refused.stderr.count("\n") == 1


async def test_the_doctor_finds_wrong_keys_and_shows_no_password(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It names each setting that no API would start on, and says where the log is without who signs in."""
    await wipe(nats_server)
    (tmp_path / "wrong").write_text("no key")
    session = session_of(
        tmp_path / "data",
        NATS_URL=nats_server.url.replace("://", f"://{nats_server.token}@"),
        JWT_KEYS=str(tmp_path / "wrong"),
        DOPPLER_KEYS=str(tmp_path / "wrong"),
    )
    findings = await checkup(session, mend=False)
    failed = " ".join(finding.detail for finding in findings if finding.state == "fail")
    assert "MSGXC_JWT_KEYS: " in failed
    assert "MSGXC_DOPPLER_KEYS: " in failed
    shown = " ".join(finding.detail for finding in findings)
    assert f"answers at {nats_server.url}" in shown
    assert nats_server.token not in shown
    await wipe(nats_server)


async def test_settings_that_may_keep_cassandra_from_answering_are_named(tmp_path: Path) -> None:
    """Those that are set, where nobody answers who could tell which one is wrong."""
    session = session_of(tmp_path, CASSANDRA="127.0.0.1:1", CASSANDRA_DC="nowhere")
    with pytest.raises(Unavailable, match=r"start it, or mend MSGXC_CASSANDRA, MSGXC_CASSANDRA_DC$"):
        async with open_store(session):
            pass


async def test_a_data_centre_that_cassandra_has_not(
    cassandra: CassandraConfig, nats_server: NatsServer, tmp_path: Path
) -> None:
    """One line says so, and which there are, at a start and by the doctor: it is no node that is away."""
    await wipe(nats_server)
    [(host, port)] = cassandra.hosts
    session = session_of(
        tmp_path,
        NATS_URL=nats_server.url.replace("://", f"://{nats_server.token}@"),
        CASSANDRA=f"{host}:{port}",
        CASSANDRA_DC="nowhere",
    )
    wrong = (
        f"the Cassandra at {host}:{port} has no data centre nowhere, but datacenter1: mend MSGXC_CASSANDRA_DC"
    )
    with pytest.raises(Unavailable) as caught:
        async with open_store(session):
            pass
    assert str(caught.value) == wrong
    findings = await checkup(session, mend=False)
    assert [each.detail for each in findings if each.about == "read models"] == [wrong]
    await wipe(nats_server)


async def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    """With the reason, so that a refused connection and an unknown authority can be told apart."""
    session = session_of(tmp_path, NATS_URL="nats://u:hunter2@127.0.0.1:1")
    endpoint = configured_endpoint(session, name="test")
    assert endpoint is not None
    with pytest.raises(Disconnected, match=r"answers at nats://127\.0\.0\.1:1: .*Errno 111") as caught:
        async with connected(endpoint, open_s_max=0.5):
            pass
    assert "hunter2" not in str(caught.value)
