from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import sys
import time
from pathlib import Path

import jwt
import msgspec
import pytest

from infra.sandbox import Sandbox
from infra.sandbox.books import PAGE_MAX, Books, Entry, Received
from tests.integration.sandbox.h2client import Closed, H2Client
from tests.integration.sandbox.test_apns import PAYLOAD, provider_token

ROOT = Path(__file__).parents[3]


async def test_whatever_was_acknowledged_survives_sigkill(keys: Path, tmp_path: Path) -> None:
    """A sandbox killed in the middle of a load has every notification it answered in its books."""
    folder = shutil.copytree(keys, tmp_path / "sandbox")
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.sandbox", str(folder), "0", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    settings: dict[str, str] = {}
    async with asyncio.timeout(20):
        while "MSGXC_SMTP_URL" not in settings:
            name, _, value = (await server.stdout.readline()).decode().strip().partition("=")
            settings[name] = value
    acknowledged = await _load_until_killed(server, settings)
    async with Sandbox(folder) as again:
        items, total = await again.books.messages(limit=PAGE_MAX)
        assert f"https://{again.webpush_host}".startswith("https://127.0.0.1:")
    booked = [item.address for item in items]
    assert total == len(booked) == len(set(booked))
    assert len(acknowledged) >= 300
    assert acknowledged <= set(booked)


async def _load_until_killed(server: asyncio.subprocess.Process, settings: dict[str, str]) -> set[str]:
    """The devices whose notification was acknowledged before the SIGKILL."""
    acknowledged: set[str] = set()
    body = msgspec.json.encode(PAYLOAD)
    async with H2Client(settings["MSGXC_APNS_URL"], Path(settings["MSGXC_CA_FILE"])) as client:
        headers = {
            "authorization": "bearer " + _token(settings),
            "apns-topic": settings["MSGXC_APNS_TOPIC"],
        }
        sent = {f"{n:064x}": client.send(f"/3/device/{n:064x}", body, headers)[1] for n in range(900)}

        async def wait(device: str) -> None:
            if (await sent[device]).status == 200:
                acknowledged.add(device)
                if len(acknowledged) == 300:
                    server.send_signal(signal.SIGKILL)

        async with asyncio.timeout(20):
            results = await asyncio.gather(*map(wait, sent), return_exceptions=True)
            await server.wait()
        assert all(result is None or isinstance(result, Closed) for result in results), results
    return acknowledged


def _token(settings: dict[str, str]) -> str:
    key = Path(settings["MSGXC_APNS_KEY_FILE"]).read_text()
    claims = {"iss": settings["MSGXC_APNS_TEAM_ID"], "iat": int(time.time())}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": settings["MSGXC_APNS_KEY_ID"]})


async def test_ports_keys_and_messages_are_found_again(folder: Path) -> None:
    """A second start has the same addresses, credentials and books."""
    async with Sandbox(folder) as first:
        before = first.environment()
        headers = {
            "authorization": "bearer " + provider_token(first, at=time.time()),
            "apns-topic": before["MSGXC_APNS_TOPIC"],
        }
        async with H2Client(first.urls.apns, first.ca_file) as client:
            got = await client.request("/3/device/" + "ab" * 32, msgspec.json.encode(PAYLOAD), headers)
            assert got.status == 200
    async with Sandbox(folder) as second:
        assert second.environment() == before
        assert (await second.books.messages())[1] == 1


async def test_a_port_that_was_taken_meanwhile(folder: Path, tmp_path: Path) -> None:
    """When another program has the port, a free one is used and the settings say so."""
    async with Sandbox(folder) as first:
        twin = shutil.copytree(folder, tmp_path / "twin", ignore=shutil.ignore_patterns("books*"))
        async with Sandbox(twin) as second:
            assert second.urls.apns != first.urls.apns
            async with H2Client(second.urls.apns, second.ca_file) as client:
                assert (await client.request("/3/device/x", b"{}")).status == 403


async def test_secrets_are_for_the_owner_alone(tmp_path: Path) -> None:
    """Everything in the folder is 0600, the folder 0700, whatever the umask."""
    former = os.umask(0)
    try:
        async with Sandbox(tmp_path / "fresh") as sandbox:
            files = list(sandbox.folder.iterdir())
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700
    finally:
        os.umask(former)


async def test_credentials_are_booked_as_fingerprints(sandbox: Sandbox) -> None:
    """The books show whether a credential changed, and never the credential."""
    async with H2Client(sandbox.urls.apns, sandbox.ca_file) as client:
        await client.request("/3/device/x", b"{}", {"authorization": "bearer secret-token", "x-more": "1"})
    request = await sandbox.books.request(1)
    assert request is not None
    assert request["headers"]["authorization"].startswith("bearer sha256:")
    assert request["headers"]["x-more"] == "1"
    assert b"secret-token" not in sandbox.books.file.read_bytes()


async def test_pages(tmp_path: Path) -> None:
    """Messages come in order of arrival: the newest without a cursor, those behind it with one."""
    books = await Books.open(tmp_path / "books.sqlite")
    await _book(books, 25)
    newest, total = await books.messages(limit=10)
    assert ([item.id for item in newest], total) == ([*range(16, 26)], 25)
    seen: list[int] = []
    while items := (await books.messages(after=seen[-1] if seen else 0, limit=10))[0]:
        seen += [item.id for item in items]
    assert seen == [*range(1, 26)]
    await books.aclose()


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """What cannot be booked is reported as an error, never as booked, and the books go on afterwards."""
    books = await Books.open(tmp_path / "books.sqlite")
    await books._call(books._query, "PRAGMA max_page_count = 30", ())
    with pytest.raises(OSError, match="full"):
        await _book(books, 300)
    await books._call(books._query, "PRAGMA max_page_count = 3000", ())
    await _book(books, 1)
    _, total = await books.messages()
    assert total == await _count(books)
    await books.aclose()


async def test_closing_writes_what_was_appended(tmp_path: Path) -> None:
    """Closing waits for everything that was appended before."""
    books = await Books.open(tmp_path / "books.sqlite")
    pending = asyncio.gather(*(_one(books) for _ in range(1_200)))
    await asyncio.sleep(0)
    await books.aclose()
    await pending
    database = sqlite3.connect(tmp_path / "books.sqlite")
    assert database.execute("SELECT count(*) FROM messages").fetchone() == (1_200,)
    database.close()


async def _book(books: Books, count: int) -> None:
    await asyncio.gather(*(_one(books) for _ in range(count)))


async def _one(books: Books) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = Received(
        provider="apns", method="POST", target="/", headers={}, payload=b"", received_at=1.0, status=200
    )
    entry = Entry(address="a", title="x" * 1_000)
    books.append(
        received,
        [entry],
        arrived=True,
        then=lambda error: done.set_exception(error) if error else done.set_result(None),
    )
    await done


async def _count(books: Books) -> int:
    return int((await books.query("SELECT count(*) FROM requests", ()))[0][0])
