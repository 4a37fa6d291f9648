"""APNs, FCM and a web-push service in one process, as light as can be, for measuring what sends to them.

    python -m bench.rig.providers FOLDER        # says on standard output where it is; ends with its standard input

Real where it costs the sender something: TLS, HTTP/2 with the limits that providers announce, Google's OAuth step,
the answers' headers and bodies. Owns exact books: how often each address was accepted. Never judges beyond
credentials and a readable payload; the sandbox does (infra/sandbox).

Beside HTTP/2: `POST /token`, `GET /stats` and `POST /reset` over plain HTTP.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec
import uvloop
from aiohttp import web

from bench.rig.http2_server import Answer, Connection, Fields
from cli.serve.lifetime import settle_memory
from gateways.http2.headers import integer, literals
from infra.sandbox.keyring import Keyring

ACCESS_LIFE_S = 3_600
ADDRESSES_MAX = 1_000_000
"""On the books of a channel: more is not a measurement any more but a leak."""
_STATUS_NAME = integer(8, 4, 0)
"""`:status` of the static table, its value to follow, not to be remembered."""


class Book(msgspec.Struct):
    """What a channel was given: n requests, ok of them accepted, for uniq addresses. addresses: how often each."""

    n: int = 0
    ok: int = 0
    uniq: int = 0
    addresses: dict[str, int] = {}

    def accept(self, address: str) -> None:
        times = self.addresses.get(address, 0)
        assert times or self.uniq < ADDRESSES_MAX, "books without end"
        self.addresses[address] = times + 1
        self.ok += 1
        self.uniq += not times


class Notification(msgspec.Struct):
    """APNs' payload, as far as it is read."""

    aps: msgspec.Raw


class Message(msgspec.Struct):
    token: str


class Send(msgspec.Struct):
    """FCM's request, as far as it is read."""

    message: Message


def _head(status: int, *headers: tuple[bytes, bytes]) -> bytes:
    known = b"\x88" if status == 200 else _STATUS_NAME + b"\x03%d" % status
    return known + literals(headers)


_JSON = (b"content-type", b"application/json; charset=UTF-8")
_APNS_200 = _head(200) + literals([(b"apns-id", b"")])[:-1]
_FCM_200 = _head(200, _JSON)
_read_notification = msgspec.json.Decoder(Notification).decode
_read_send = msgspec.json.Decoder(Send).decode


def _refusal(status: int, reason: str) -> Answer:
    return _head(status, _JSON), msgspec.json.encode({"reason": reason})


def _google_refusal(status: int, name: str) -> Answer:
    error = {"code": status, "message": name, "status": name}
    return _head(status, _JSON), msgspec.json.encode({"error": error})


class Providers:
    """Answers requests and keeps the books. project: FCM's."""

    def __init__(self, project: str) -> None:
        self.books = {name: Book() for name in ("apns", "fcm", "webpush")}
        self._send_path = f"/v1/projects/{project}/messages:send".encode()
        self._name = f"projects/{project}/messages/0:".encode()
        self._granted: set[bytes] = set()

    def grant(self) -> str:
        """A new access token of Google's."""
        token = f"ya29.{secrets.token_urlsafe(120)}"  # as long as Google's
        self._granted.add(b"Bearer " + token.encode())
        return token

    def reset(self) -> None:
        for name in self.books:
            self.books[name] = Book()

    def answer(self, fields: Fields, body: bytes) -> Answer:
        path = fields.get(b":path", b"")
        if fields.get(b":method") != b"POST":
            return _head(405), b""
        if path.startswith(b"/3/device/"):
            return self._apns(path[10:].decode("latin-1"), fields, body)
        if path == self._send_path:
            return self._fcm(fields, body)
        if path.startswith(b"/push/"):
            return self._webpush(path.decode("latin-1"))
        return _head(404), b""

    def _apns(self, device: str, fields: Fields, body: bytes) -> Answer:
        book = self.books["apns"]
        book.n += 1
        if not fields.get(b"authorization", b"").startswith((b"bearer ", b"Bearer ")):
            return _refusal(403, "MissingProviderToken")
        try:
            _read_notification(body)
        except msgspec.DecodeError:
            return _refusal(400, "PayloadEmpty")
        id = fields.get(b"apns-id") or str(uuid4()).upper().encode()
        if len(id) != 36:
            return _refusal(400, "BadMessageId")
        book.accept(device)
        return _APNS_200 + b"\x24" + id, b""

    def _fcm(self, fields: Fields, body: bytes) -> Answer:
        book = self.books["fcm"]
        book.n += 1
        if fields.get(b"authorization") not in self._granted:
            return _google_refusal(401, "UNAUTHENTICATED")
        try:
            address = _read_send(body).message.token
        except msgspec.DecodeError:
            return _google_refusal(400, "INVALID_ARGUMENT")
        book.accept(address)
        return _FCM_200, b'{"name":"%b%d"}' % (self._name, book.n)

    def _webpush(self, endpoint: str) -> Answer:
        book = self.books["webpush"]
        book.n += 1
        book.accept(endpoint)
        return _head(201, (b"location", b"https://push.local/m/%d" % book.n)), b""


class Place(NamedTuple):
    """tls: the port of all three. plain: that of the tokens and the books."""

    tls: int
    plain: int


@asynccontextmanager
async def serving(providers: Providers, keyring: Keyring) -> AsyncIterator[Place]:
    """On free ports of 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keyring.certificate_file, keyring.certificate_key_file)
    context.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(plain_app(providers), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = await loop.create_server(lambda: Connection(providers.answer), "127.0.0.1", 0, ssl=context)
        try:
            yield Place(server.sockets[0].getsockname()[1], runner.addresses[0][1])
        finally:
            server.close()
    finally:
        await runner.cleanup()


def plain_app(providers: Providers) -> web.Application:
    async def token(_: web.Request) -> web.Response:
        granted = {"access_token": providers.grant(), "expires_in": ACCESS_LIFE_S, "token_type": "Bearer"}
        return web.json_response(granted)

    async def stats(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(providers.books), content_type="application/json")

    async def reset(_: web.Request) -> web.Response:
        providers.reset()
        return web.Response(status=204)

    app = web.Application()
    app.add_routes([web.post("/token", token), web.get("/stats", stats), web.post("/reset", reset)])
    return app


def environment(keyring: Keyring, place: Place) -> Mapping[str, str]:
    """The settings that point the gateways here, as the sandbox tells them, and where the books are."""
    url, kept = f"https://localhost:{place.tls}", keyring.secrets
    return {
        "MSGXC_CA_FILE": str(keyring.ca_file),
        "MSGXC_APNS_KEY_FILE": str(keyring.apns_key_file),
        "MSGXC_APNS_KEY_ID": kept.apns_key_id,
        "MSGXC_APNS_TEAM_ID": kept.apns_team_id,
        "MSGXC_APNS_TOPIC": kept.apns_topic,
        "MSGXC_APNS_URL": url,
        "MSGXC_FCM_CREDENTIALS_FILE": str(keyring.service_account_file),
        "MSGXC_FCM_URL": url,
        "MSGXC_WEBPUSH_HOSTS": url.removeprefix("https://"),
        "books": f"http://127.0.0.1:{place.plain}",
    }


async def main(folder: Path) -> None:
    keyring = Keyring(folder)
    async with serving(Providers(keyring.secrets.fcm_project), keyring) as place:
        settle_memory()  # as every role does
        keyring.write_service_account(f"http://127.0.0.1:{place.plain}/token")
        print(msgspec.json.encode(environment(keyring, place)).decode(), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
