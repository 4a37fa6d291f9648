"""`msgxc keys` over devices' signing keys, from every source: list them, rotate them, say what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from cli.console import Failure
from cli.serve.alone import run_api
from cli.serve.everything import serve
from cli.session import Session
from cli.wiring.signing import check_signing, describe_signing, rotate_signing, signing_keys
from domain.errors import Unavailable
from infra.configuration.datafolder import DataFolder
from infra.secrets import open_keyring
from infra.settings import load
from infra.signing.folder import ensure_key
from tests.fixtures.secret_manager import SECRET, FakeGoogle, error, fake_google

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def session_of(folder: Path, **variables: str) -> Session:
    """As cli.session opens one."""
    settings = load({"MSGXC_DATA_DIR": str(folder), **variables})
    data = DataFolder(folder).prepare()
    if settings.sdk_keys.is_unset:
        ensure_key(data.sdk, now=NOW)
    return Session(settings, data, open_keyring(data, settings.keys, now=NOW))


def open_to_others(file: str) -> None:
    Path(file).chmod(0o644)


@pytest.fixture
async def fake() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as running:
        yield running


def of_google(folder: Path, fake: FakeGoogle, **variables: str) -> Session:
    account = folder / "account.json"
    account.write_text(json.dumps(fake.credentials()), encoding="utf-8")
    return session_of(
        folder,
        MSGXC_SDK_KEYS=f"gsm://{SECRET}",
        MSGXC_SDK_KEYS_URL=fake.url,
        MSGXC_SDK_KEYS_CREDENTIALS_FILE=str(account),
        **variables,
    )


async def test_the_data_folders_keys(tmp_path: Path) -> None:
    """The one that signs first, by kid, with its private file; a rotation adds one."""
    session = session_of(tmp_path)
    [first] = await describe_signing(session)
    assert (first.name, Path(first.source).stem, first.private) == ("sdk, signing", first.id, True)
    assert "sdk" in Path(first.source).parts
    await rotate_signing(session)
    new, former = await describe_signing(session)
    assert (former.id, former.name) == (first.id, "sdk")
    assert new.id != first.id
    open_to_others(former.source)
    assert not (await describe_signing(session))[1].private


async def test_keys_of_the_environment_and_of_files_are_rotated_where_they_are_made(tmp_path: Path) -> None:
    """The command says so, and changes nothing."""
    file = tmp_path / "sdk.pem"
    file.write_text("5e" * 32, encoding="utf-8")
    for variables in ({"MSGXC_SDK_KEYS": "5e" * 32}, {"MSGXC_SDK_KEYS_FILE": str(file)}):
        session = session_of(tmp_path, **variables)
        [row] = await describe_signing(session)
        assert row.source in {"MSGXC_SDK_KEYS", str(file)}
        with pytest.raises(Failure, match="rotate the keys where they are made"):
            await rotate_signing(session)
        assert not any(session.folder.sdk.iterdir())


async def test_keys_in_secret_manager(tmp_path: Path, fake: FakeGoogle) -> None:
    """A rotation adds a version, which verifies at once and signs when every process has read it."""
    fake.add(os.urandom(32).hex().encode())
    session = of_google(tmp_path, fake)
    await check_signing(session)
    [first] = await describe_signing(session)
    assert first.source == f"gsm://{SECRET}"
    assert "versions/2" in await rotate_signing(session)
    rows = await describe_signing(session)
    assert [(row.name, row.id == first.id) for row in rows] == [("sdk, signing", True), ("sdk", False)]


async def test_what_google_refuses_is_one_line(tmp_path: Path, fake: FakeGoogle) -> None:
    """With the secret's name and Google's word, to list as to rotate."""
    session = of_google(tmp_path, fake)
    for work in (describe_signing, rotate_signing):
        fake.fail.append(error(403, "PERMISSION_DENIED"))
        with pytest.raises(Failure, match=rf"gsm://{SECRET}: Google answers 403 PERMISSION_DENIED"):
            await work(session)
    with pytest.raises(Failure, match="holds no key"):
        await describe_signing(session)
    fake.fail.append(error(503, "UNAVAILABLE"))
    with pytest.raises(Unavailable):
        await rotate_signing(session)


async def test_whoever_uses_the_keys_may_fail_in_his_own_way(tmp_path: Path, fake: FakeGoogle) -> None:
    """Following ends with the work, and what the work raised comes through."""
    fake.add(os.urandom(32).hex().encode())

    async def work() -> None:
        async with signing_keys(of_google(tmp_path, fake)) as keys:
            assert keys.current().signing
            raise LookupError

    with pytest.raises(ExceptionGroup) as raised:
        await work()
    assert raised.group_contains(LookupError)


async def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """One line that says which, and does not show it."""
    with pytest.raises(Failure, match="at least 32 bytes") as refused:
        await check_signing(session_of(tmp_path, MSGXC_SDK_KEYS="5e5e5e"))
    assert "5e5e" not in str(refused.value)


async def test_a_secret_that_google_refuses_stops_the_start(tmp_path: Path, fake: FakeGoogle) -> None:
    """`msgxc api` and `msgxc serve` end before they open anything else, with one line that names the setting, instead
    of trying again for ever. While Google is away they go on, and wait.
    """
    session = of_google(tmp_path, fake)
    loopback = {"MSGXC_HTTP_PORT": "0", "MSGXC_NATS_URL": "nats://127.0.0.1:1"}
    for start in (run_api, partial(serve, processes=False)):
        fake.fail.append(error(404, "NOT_FOUND"))
        with pytest.raises(
            Failure, match=rf"\AMSGXC_SDK_KEYS=gsm://{SECRET}: Google answers 404 NOT_FOUND\Z"
        ):
            await start(of_google(tmp_path, fake, **loopback))
    fake.fail.append(error(503, "UNAVAILABLE"))
    await check_signing(session)


async def test_credentials_that_are_none_are_named(tmp_path: Path, fake: FakeGoogle) -> None:
    """Before Google is asked."""
    session = of_google(tmp_path, fake)
    spoil(tmp_path / "account.json")
    with pytest.raises(Failure, match="MSGXC_SDK_KEYS_CREDENTIALS_FILE"):
        await describe_signing(session)
    assert fake.asked == []


def spoil(file: Path) -> None:
    file.write_text("[]", encoding="utf-8")
