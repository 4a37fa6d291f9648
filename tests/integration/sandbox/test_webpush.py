from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import http_ece  # type: ignore[import-untyped]
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import WebPusher

from infra.sandbox import PushSubscription, Sandbox

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Clock


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


class Application:
    """An application server with its VAPID key pair."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = b64(self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        self._origin, self._clock = sandbox.urls.webpush, clock

    def authorization(self, **changed: Any) -> str:
        claims = {"aud": self._origin, "exp": int(self._clock.now) + 3_600, "sub": "mailto:ops@example.org"}
        token = jwt.encode({**claims, **changed}, self.key, algorithm="ES256")
        return f"vapid t={token}, k={self.public}"

    def headers(self, **changed: str | None) -> dict[str, str]:
        made: dict[str, str | None] = {
            "authorization": self.authorization(),
            "ttl": "60",
            "urgency": "high",
            "content-encoding": "aes128gcm",
            **{name.replace("_", "-"): value for name, value in changed.items()},
        }
        return {name: value for name, value in made.items() if value is not None}


@pytest.fixture
def application(sandbox: Sandbox, clock: Clock) -> Application:
    return Application(sandbox, clock)


def encrypted(subscription: PushSubscription, text: bytes) -> bytes:
    """By the library a gateway might use: independent of the sandbox's own code."""
    keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
    pusher = WebPusher({"endpoint": subscription.endpoint, "keys": keys})
    return bytes(pusher.encode(text, "aes128gcm")["body"])


async def test_a_push_is_decrypted_and_booked(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """A push to a minted subscription gets 201, and is in the books as the browser would show it."""
    browser = await sandbox.mint_subscription(application.public)
    text = msgspec.json.encode({"title": "News", "body": "Es regnet, ☂", "message_id": "m-1"})
    headers = application.headers(topic="c-1")
    async with web.post(browser.endpoint, data=encrypted(browser, text), headers=headers) as answer:
        assert (answer.status, answer.headers["ttl"]) == (201, "60")
        assert answer.headers["location"].startswith(sandbox.urls.webpush)
    (item,), _ = await sandbox.books.messages(channel="webpush")
    assert (item.address, item.title, item.body) == (browser.endpoint, "News", "Es regnet, ☂")
    assert (item.message_id, item.collapse_id, item.note) == ("m-1", "c-1", "")


async def test_the_contracts_own_payload_is_readable(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """The MSGXC payload has msg for the body; plain text is a body too."""
    browser = await sandbox.mint_subscription()
    for text in (b'{"msg":"hello","ok":true,"slug":"/thread/t","message_id":"m-2"}', b"hello"):
        async with web.post(
            browser.endpoint, data=encrypted(browser, text), headers=application.headers()
        ) as answer:
            assert answer.status == 201
    items, _ = await sandbox.books.messages()
    assert [(item.body, item.message_id) for item in items] == [("hello", "m-2"), ("hello", "")]


async def test_an_older_encoder_agrees(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """A body made by http_ece, with another record size, is read as well."""
    browser = await sandbox.mint_subscription()
    body = http_ece.encrypt(
        b"padded",
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=unb64(browser.p256dh),
        auth_secret=unb64(browser.auth),
        rs=2_000,
        salt=os.urandom(16),
        version="aes128gcm",
    )
    async with web.post(browser.endpoint, data=body, headers=application.headers()) as answer:
        assert answer.status == 201
    assert (await sandbox.books.messages())[0][0].body == "padded"


async def test_what_a_browser_would_drop_is_marked(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """A push service cannot tell a wrongly encrypted message, so it takes it; the books say it is unreadable."""
    browser, other = await sandbox.mint_subscription(), await sandbox.mint_subscription()
    for body in (encrypted(other, b"x"), b"short", os.urandom(200)):
        async with web.post(browser.endpoint, data=body, headers=application.headers()) as answer:
            assert answer.status == 201
    items, _ = await sandbox.books.messages()
    assert all("the browser would drop it" in item.note and not item.body for item in items)
    assert len(items) == 3


async def test_a_subscription_with_foreign_keys(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """Any endpoint is taken; without its key only the size is known."""
    endpoint = f"{sandbox.urls.webpush}/push/a-browser-of-the-test"
    async with web.post(endpoint, data=b"x" * 150, headers=application.headers()) as answer:
        assert answer.status == 201
    (item,), _ = await sandbox.books.messages()
    assert "150 bytes" in item.note


async def test_vapid_is_checked(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application, clock: Clock
) -> None:
    """No token is 401; a wrong audience, life, subject, signature or key is 403."""
    browser = await sandbox.mint_subscription(application.public)
    stranger = Application(sandbox, clock)
    now = int(clock.now)
    forged = application.authorization().split(", k=")[0] + f", k={stranger.public}"
    wrong = {
        "": 401,
        "bearer abc": 401,
        application.authorization(aud="https://fcm.googleapis.com"): 403,
        application.authorization(exp=now - 3_600): 403,
        application.authorization(exp=now + 90_000): 403,
        application.authorization(sub="somebody"): 403,
        application.authorization(sub=" mailto:ops@example.org"): 403,
        forged: 403,
        stranger.authorization(): 403,
    }
    for authorization, expected in wrong.items():
        headers = application.headers(authorization=authorization)
        async with web.post(browser.endpoint, data=encrypted(browser, b"x"), headers=headers) as answer:
            assert answer.status == expected, authorization
            assert ("www-authenticate" in answer.headers) == (expected == 401)
    assert (await sandbox.books.messages())[1] == 0


@pytest.mark.parametrize(
    ("changed", "size", "expected"),
    [
        ({"ttl": None}, 100, 400),
        ({"ttl": "soon"}, 100, 400),
        ({"ttl": "-1"}, 100, 400),
        ({"urgency": "asap"}, 100, 400),
        ({"topic": "x" * 33}, 100, 400),
        ({"topic": "not base64!"}, 100, 400),
        ({"content_encoding": "aesgcm"}, 100, 400),
        ({"content_encoding": None}, 100, 400),
        ({}, 4_096, 201),
        ({}, 4_097, 413),
        ({"content_encoding": None}, 0, 201),
    ],
)
async def test_headers_and_size(
    sandbox: Sandbox,
    web: aiohttp.ClientSession,
    application: Application,
    changed: dict[str, str | None],
    size: int,
    expected: int,
) -> None:
    """RFC 8030's headers are required and checked, and 4,096 bytes are the limit."""
    browser = await sandbox.mint_subscription()
    headers = application.headers(**changed)
    async with web.post(browser.endpoint, data=b"x" * size, headers=headers) as answer:
        assert answer.status == expected


async def test_a_long_ttl_is_shortened(
    sandbox: Sandbox, web: aiohttp.ClientSession, application: Application
) -> None:
    """The answer's TTL says what the service will really keep."""
    browser = await sandbox.mint_subscription()
    headers = application.headers(ttl="9999999")
    async with web.post(browser.endpoint, data=encrypted(browser, b"x"), headers=headers) as answer:
        assert answer.headers["ttl"] == "2592000"


async def test_browsers_outlive_a_restart(folder: Path, clock: Clock) -> None:
    """A minted subscription keeps its endpoint and its key over a restart."""
    async with Sandbox(folder, clock=clock) as first:
        browser = await first.mint_subscription()
    async with Sandbox(folder, clock=clock) as second:
        assert browser.endpoint.startswith(second.urls.webpush)
        known = {
            second.webpush.endpoint(id): kept.p256dh for id, kept in second.webpush.subscriptions.items()
        }
        assert known == {browser.endpoint: browser.p256dh}
