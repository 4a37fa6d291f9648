from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.sandbox import Sandbox
from tests.integration.sandbox.h2client import H2Client

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Clock

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = "dQw4w9WgXcQ:APA91bHPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8OvPVGJ-hQMRKRrZuJAEcl7B338qju59zJMjw"


def account(sandbox: Sandbox) -> dict[str, str]:
    """The service account as a gateway reads it."""
    return msgspec.json.decode(sandbox.keyring.service_account_file.read_bytes(), type=dict[str, str])


def assertion(sandbox: Sandbox, clock: Clock, key: Any = None, **changed: Any) -> str:
    own = account(sandbox)
    now = int(clock.now)
    claims = {
        "iss": own["client_email"],
        "aud": own["token_uri"],
        "scope": SCOPE,
        "iat": now,
        "exp": now + 3_600,
    }
    return jwt.encode({**claims, **changed}, key or own["private_key"], algorithm="RS256")


async def granted(sandbox: Sandbox, web: aiohttp.ClientSession, signed: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": GRANT, "assertion": signed}
    async with web.post(account(sandbox)["token_uri"], data=form) as answer:
        return answer.status, await answer.json()


class Sender:
    """A client that got its access token as Google says."""

    def __init__(self, sandbox: Sandbox, web: aiohttp.ClientSession, token: str) -> None:
        self.url = f"{sandbox.urls.fcm}/v1/projects/{sandbox.credentials.fcm_project}/messages:send"
        self.headers = {"authorization": f"Bearer {token}"}
        self._web = web

    async def send(self, message: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
        body = {"message": message, **more}
        async with self._web.post(self.url, json=body, headers=self.headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def fcm(sandbox: Sandbox, web: aiohttp.ClientSession, clock: Clock) -> Sender:
    status, token = await granted(sandbox, web, assertion(sandbox, clock))
    assert (status, token["token_type"], token["expires_in"]) == (200, "Bearer", 3_599)
    return Sender(sandbox, web, token["access_token"])


def error_code(error: dict[str, Any]) -> str:
    """The FcmError in Google's error body."""
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    return str(next(detail["errorCode"] for detail in error["error"]["details"] if detail["@type"] == kind))


async def test_a_message_is_accepted_and_booked(sandbox: Sandbox, fcm: Sender) -> None:
    """A good message gets its name back and is in the books as a person would read it."""
    status, body = await fcm.send(
        {
            "token": TOKEN,
            "notification": {"title": "News", "body": "It rains"},
            "data": {"message_id": "m-1"},
            "android": {"ttl": "86400s", "priority": "HIGH", "collapse_key": "c-1"},
        }
    )
    assert status == 200
    assert body["name"].startswith(f"projects/{sandbox.credentials.fcm_project}/messages/")
    (item,), _ = await sandbox.books.messages(channel="fcm")
    assert (item.address, item.title, item.body, item.message_id) == (TOKEN, "News", "It rains", "m-1")
    assert (item.collapse_id, item.provider_id, item.status) == ("c-1", body["name"], 200)


async def test_http2_is_spoken_too(sandbox: Sandbox, fcm: Sender) -> None:
    """The same port takes HTTP/2."""
    body = msgspec.json.encode({"message": {"token": TOKEN, "data": {"message_id": "m-2", "body": "hi"}}})
    path = f"/v1/projects/{sandbox.credentials.fcm_project}/messages:send"
    async with H2Client(sandbox.urls.fcm, sandbox.ca_file) as client:
        got = await client.request(path, body, fcm.headers)
    assert got.status == 200
    (item,), _ = await sandbox.books.messages(message_id="m-2")
    assert item.body == "hi"


async def test_only_the_service_account_gets_a_token(
    sandbox: Sandbox, web: aiohttp.ClientSession, clock: Clock
) -> None:
    """Another key, issuer, audience, scope or a stale assertion is refused in OAuth's words.

    The audience google-auth always writes is good too.
    """
    foreign = rsa.generate_private_key(65537, 2048)
    now = int(clock.now)
    wrong = {
        assertion(sandbox, clock, key=foreign): "invalid_grant",
        assertion(sandbox, clock, iss="somebody@example.org"): "invalid_grant",
        assertion(sandbox, clock, aud="https://example.org/token"): "invalid_grant",
        assertion(sandbox, clock, iat=now - 7_200, exp=now - 3_600): "invalid_grant",
        assertion(sandbox, clock, exp=now + 7_200): "invalid_grant",
        assertion(sandbox, clock, scope="https://www.googleapis.com/auth/drive"): "invalid_scope",
        "not a token": "invalid_grant",
    }
    for signed, expected in wrong.items():
        status, body = await granted(sandbox, web, signed)
        assert (status, body["error"]) == (400, expected)
    assert sandbox.fcm.tokens_issued == 0
    usual = assertion(sandbox, clock, aud="https://oauth2.googleapis.com/token")
    assert (await granted(sandbox, web, usual))[0] == 200


async def test_access_tokens_are_checked(
    sandbox: Sandbox, fcm: Sender, web: aiohttp.ClientSession, clock: Clock
) -> None:
    """No token, a made-up one and an old one get 401 UNAUTHENTICATED; a token outlives a restart."""
    message = {"token": TOKEN, "data": {"body": "hi"}}
    assert (await fcm.send(message))[0] == 200
    for token in ("", "ya29.9999999999.nonce.proof"):
        status, error = await Sender(sandbox, web, token).send(message)
        assert (status, error["error"]["status"]) == (401, "UNAUTHENTICATED")
    clock.now += 3_600
    assert (await fcm.send(message))[0] == 401


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "message"),
        ({"notification": {"body": "x"}}, "message"),
        ({"token": TOKEN, "topic": "news"}, "message"),
        ({"token": "has spaces"}, "message.token"),
        ({"token": TOKEN, "data": {"n": 1}}, "message.data"),
        ({"token": TOKEN, "data": {"from": "x"}}, "message.data[0].key"),
        ({"token": TOKEN, "data": {"google.x": "x"}}, "message.data[0].key"),
        ({"token": TOKEN, "notification": {"body": 1}}, "message.notification"),
        ({"token": TOKEN, "notification": {"text": "x"}}, "message.notification"),
        ({"token": TOKEN, "android": {"ttl": 60}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"ttl": "60"}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"priority": "LOUD"}}, "message.android.priority"),
        ({"token": TOKEN, "data": {"x": "y" * 4_096}}, "message"),
        ({"token": TOKEN, "urgency": "high"}, "message"),
    ],
)
async def test_a_wrong_message_names_its_field(
    sandbox: Sandbox, fcm: Sender, message: dict[str, Any], field: str
) -> None:
    """A message Google would not take gets 400 INVALID_ARGUMENT naming the field, and does not arrive."""
    status, error = await fcm.send(message)
    assert (status, error["error"]["status"]) == (400, "INVALID_ARGUMENT")
    violations = [v["field"] for d in error["error"]["details"] for v in d.get("fieldViolations", [])]
    assert violations == [field]
    assert (await sandbox.books.messages())[1] == 0


async def test_a_bad_token_is_told_in_googles_words(fcm: Sender) -> None:
    """The one INVALID_ARGUMENT that means the address is dead says so."""
    _, error = await fcm.send({"token": "x"})
    assert error["error"]["message"] == "The registration token is not a valid FCM registration token"
    assert error_code(error) == "INVALID_ARGUMENT"


async def test_projects_and_senders(sandbox: Sandbox, fcm: Sender) -> None:
    """A token of another project is a SENDER_ID_MISMATCH; another project's path is not ours to use."""
    foreign = await sandbox.mint_registration("another-project")
    status, error = await fcm.send({"token": foreign, "data": {"body": "x"}})
    assert (status, error_code(error)) == (403, "SENDER_ID_MISMATCH")
    fcm.url = fcm.url.replace(sandbox.credentials.fcm_project, "another-project")
    status, error = await fcm.send({"token": TOKEN})
    assert (status, error["error"]["status"]) == (403, "PERMISSION_DENIED")


async def test_validate_only_delivers_nothing(sandbox: Sandbox, fcm: Sender) -> None:
    """A dry run is answered like a send, and reaches nobody."""
    status, _ = await fcm.send({"token": TOKEN, "data": {"body": "x"}}, validate_only=True)
    assert status == 200
    assert (await sandbox.books.messages())[1] == 0
