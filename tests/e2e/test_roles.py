"""Each role alone, as in production: nine processes that share a nats-server, a data folder and nothing else.

The server has the accounts of `schema/accounts.conf`: each role signs in as a user of its own, with that one's rights.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.nats.jetstream import JetStream
from infra.nats.server import NatsServer, ServerConfig
from infra.nats.streams import StreamSettings, ensure
from infra.nats.wire.connection import Endpoint, connected
from infra.sandbox import Sandbox
from tests.fixtures.environment import without_settings

pytestmark = pytest.mark.long

CHANNELS = ("apns", "fcm", "webpush", "sms", "email")
ROLES = (("api",), ("project",), ("dispatch",), ("resolve",), *(("gateway", channel) for channel in CHANNELS))
ACCOUNTS = Path(__file__).parents[2] / "schema" / "accounts.conf"
PASSWORD = "p4ss"
READY_S_MAX = 60.0
STOP_S_MAX = 30.0
ARRIVAL_S_MAX = 30.0


class Site:
    """The environment that all roles share, and the API's client."""

    def __init__(self, folder: Path, nats: NatsServer, sandbox: Sandbox) -> None:
        self.folder, self.sandbox, self.nats = folder, sandbox, nats
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        providers = {k: v for k, v in sandbox.environment().items() if k != "MSGXC_SMTP_URL"}
        self.environment = {
            **without_settings(),
            **providers,
            "MSGXC_DATA_DIR": str(folder / "data"),
            "MSGXC_HTTP_PORT": str(port),
            "MSGXC_MAIL_FROM": "News <news@example.org>",
            "MSGXC_NATS_SYNC": "always",
            "MSGXC_VAPID_PRIVATE_KEY_FILE": str(_vapid_key(folder)),
        }
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def run(self, *arguments: str) -> str:
        """Another command, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    @contextmanager
    def role(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Told to end at the end, and ends well."""
        with (self.folder / f"{'-'.join(command)}.log").open("wb") as log:
            address = self.nats.url.replace("nats://", f"nats://{'-'.join(command)}:{PASSWORD}@")
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *command],
                cwd=self.folder,
                env={**self.environment, "MSGXC_NATS_URL": address},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
            process.terminate()
            assert process.wait(STOP_S_MAX) == 0, command
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    async def call(self, method: str, path: str, token: str, body: object = None) -> httpx.Response:
        answer = await self.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code < 300, answer.text
        return answer

    async def is_ready(self) -> bool:
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False


@asynccontextmanager
async def site(folder: Path, nats: NatsServer) -> AsyncIterator[Site]:
    """All roles, ready."""
    async with AsyncExitStack() as opened:
        it = Site(folder, nats, await opened.enter_async_context(Sandbox(folder / "sandbox")))
        opened.push_async_callback(it.client.aclose)
        it.run("keys", "make")
        for command in ROLES:
            opened.enter_context(it.role(*command))
        async with asyncio.timeout(READY_S_MAX):
            while not await it.is_ready():
                await asyncio.sleep(0.1)
        yield it


@pytest_asyncio.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with our accounts, its streams made by the operator."""
    users = re.findall(r"\$(\w+_PASSWORD)", ACCOUNTS.read_text())
    passwords = "".join(f"{name}: {PASSWORD}\n" for name in users)
    config = ServerConfig(
        folder=tmp_path / "nats", sync="always", authorization=passwords + ACCOUNTS.read_text()
    )
    server = NatsServer(config)
    await server.start()
    try:
        operator = Endpoint(urls=server.url, user="operator", password=PASSWORD)
        async with connected(operator) as connection:
            await ensure(JetStream(connection), StreamSettings())
        yield server
    finally:
        await server.stop()


async def test_roles_deliver_on_all_channels(tmp_path: Path, guarded: NatsServer) -> None:
    """One publish reaches the person's five addresses through five gateways; SIGTERM ends each role with 0.

    None of them asks for anything that its user may not.
    """
    async with site(tmp_path, guarded) as it:
        admin, ann = it.run("token", "--uid", "ops", "--role", "admin"), it.run("token", "--uid", "ann")
        # Ready means that reads are answered.
        await it.call("GET", "/api/v2/clients", ann)
        await it.call("POST", "/api/v2/threads", admin, {"tid": "news", "name": "News", "opens": True})
        person = {"email": "ann@example.org", "cell": "+34600000001"}
        await it.call("PUT", "/api/v2/contacts/ann", admin, person)
        for device in await _devices(it.sandbox):
            await it.call("POST", "/api/v2/enlist", ann, device)
        await it.call("POST", "/api/v2/subscribe", ann, {"tid": "news"})
        answer = await it.call("POST", "/api/v2/publish", admin, {"tid": "news", "msg": "From far apart"})
        message = answer.headers["location"]
        async with asyncio.timeout(ARRIVAL_S_MAX):
            while (await it.call("GET", message, admin)).json()["state"] != "settled":
                await asyncio.sleep(0.1)
        rows = (await it.call("GET", f"{message}/deliveries", admin)).json()["items"]
        states = {row["channel"]: row["state"] for row in rows}
        assert states == dict.fromkeys(("websocket", *CHANNELS), "accepted"), rows
        items, _ = await it.sandbox.books.messages()
        assert sorted(item.channel for item in items) == sorted(CHANNELS)
        later = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        answer = await it.call(
            "POST", "/api/v2/publish", admin, {"tid": "news", "msg": "later", "scheduled": later}
        )
        async with asyncio.timeout(ARRIVAL_S_MAX):
            while (await it.call("GET", answer.headers["location"], admin)).json()["state"] != "settled":
                await asyncio.sleep(0.1)
        await _res_call(guarded)
        await it.call("DELETE", "/api/v2/contacts/ann", admin)
        async with asyncio.timeout(ARRIVAL_S_MAX):
            while (await it.call("GET", "/api/v2/threads/news/subscribers", admin)).json()["items"]:
                await asyncio.sleep(0.1)
    said = (guarded.config.folder / "nats.log").read_text()
    assert [line.rpartition("user:")[2] for line in said.splitlines() if "Violation" in line] == []


async def _res_call(server: NatsServer) -> None:
    """A RES gateway publishes to a shop, twice under one key, and is shown it once."""
    shop = uuid4()
    said = {"params": {"shop_id": str(shop), "data": 1, "idempotency_key": "k"}}
    async with connected(Endpoint(urls=server.url, user="operator", password=PASSWORD)) as gateway:
        for _ in range(2):
            answer = await gateway.ask(f"call.updates.store.{shop}.send", json.dumps(said).encode())
            assert "result" in json.loads(answer.data), answer.data
        shown = json.loads((await gateway.ask(f"get.updates.store.{shop}", b"{}")).data)
        assert [item["data"]["data"] for item in shown["result"]["collection"]] == [1]


async def _devices(sandbox: Sandbox) -> list[dict[str, object]]:
    """Bodies for enlist: an iPhone, an Android phone, a browser."""
    browser = await sandbox.mint_subscription()
    keys = {"p256dh": browser.p256dh, "auth": browser.auth}
    return [
        {"os": "ios", "token": await sandbox.mint_device()},
        {"os": "android", "token": await sandbox.mint_registration()},
        {"endpoint": browser.endpoint, "expirationTime": None, "keys": keys},
    ]


def _vapid_key(folder: Path) -> Path:
    path = folder / "vapid.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path
