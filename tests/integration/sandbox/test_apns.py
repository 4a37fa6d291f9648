from __future__ import annotations

import ssl
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from infra.sandbox import Sandbox
from tests.integration.sandbox.h2client import Got, H2Client

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Clock

DEVICE = "ab" * 32
PAYLOAD = {"aps": {"alert": {"title": "News", "body": "It rains"}}, "msgxc": {"message_id": "m-1"}}


def provider_token(sandbox: Sandbox, *, at: float, key: Any = None, **changed: str) -> str:
    kept = sandbox.credentials
    return jwt.encode(
        {"iss": changed.get("team", kept.apns_team_id), "iat": int(at)},
        key or sandbox.keyring.apns_key_file.read_text(),
        algorithm="ES256",
        headers={"kid": changed.get("key_id", kept.apns_key_id)},
    )


def headers(sandbox: Sandbox, clock: Clock, **changed: str | None) -> dict[str, str]:
    made: dict[str, str | None] = {
        "authorization": f"bearer {provider_token(sandbox, at=clock.now)}",
        "apns-topic": sandbox.credentials.apns_topic,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "0",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    return {name: value for name, value in made.items() if value is not None}


def reason(got: Got) -> tuple[int, str]:
    return got.status, msgspec.json.decode(got.body)["reason"]


async def test_a_notification_is_accepted_and_booked(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """A good notification gets 200 with its own apns-id, and is in the books as a person would read it."""
    apns_id = str(uuid.uuid4())
    wanted = headers(sandbox, clock, apns_id=apns_id, apns_collapse_id="c-1")
    got = await apns.request(f"/3/device/{DEVICE}", msgspec.json.encode(PAYLOAD), wanted)
    assert (got.status, got.headers["apns-id"], got.body) == (200, apns_id, b"")
    (item,), total = await sandbox.books.messages(channel="apns")
    assert total == 1
    assert (item.address, item.title, item.body, item.message_id) == (DEVICE, "News", "It rains", "m-1")
    assert (item.collapse_id, item.provider_id, item.status, item.arrived) == ("c-1", apns_id, 200, True)


async def test_an_id_is_made_when_none_is_sent(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """Without apns-id the answer brings one."""
    got = await apns.request(f"/3/device/{DEVICE}", msgspec.json.encode(PAYLOAD), headers(sandbox, clock))
    assert uuid.UUID(got.headers["apns-id"])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"authorization": None}, (403, "MissingProviderToken")),
        ({"authorization": "bearer x.y.z"}, (403, "InvalidProviderToken")),
        ({"apns_topic": None}, (400, "MissingTopic")),
        ({"apns_topic": "com.example.other"}, (400, "TopicDisallowed")),
        ({"apns_id": "not-a-uuid"}, (400, "BadMessageId")),
        ({"apns_push_type": "shout"}, (400, "InvalidPushType")),
        ({"apns_priority": "7"}, (400, "BadPriority")),
        ({"apns_priority": "10", "apns_push_type": "background"}, (400, "BadPriority")),
        ({"apns_expiration": "soon"}, (400, "BadExpirationDate")),
        ({"apns_collapse_id": "x" * 65}, (400, "BadCollapseId")),
    ],
)
async def test_a_wrong_header_gets_apples_reason(
    sandbox: Sandbox,
    apns: H2Client,
    clock: Clock,
    changed: dict[str, str | None],
    expected: tuple[int, str],
) -> None:
    """Each header Apple checks is checked, and a refused request is booked as one that did not arrive."""
    wanted = headers(sandbox, clock, **changed)
    got = await apns.request(f"/3/device/{DEVICE}", msgspec.json.encode(PAYLOAD), wanted)
    assert reason(got) == expected
    assert await sandbox.books.messages() == ([], 0)
    (item,), _ = await sandbox.books.messages(refused=True)
    assert (item.status, item.arrived) == (expected[0], False)


async def test_provider_tokens_are_verified(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """Another key, key id or team is invalid; a token over an hour old has expired."""
    foreign = ec.generate_private_key(ec.SECP256R1())
    tokens = {
        provider_token(sandbox, at=clock.now, key=foreign): "InvalidProviderToken",
        provider_token(sandbox, at=clock.now, key_id="AAAAAAAAAA"): "InvalidProviderToken",
        provider_token(sandbox, at=clock.now, team="BBBBBBBBBB"): "InvalidProviderToken",
        provider_token(sandbox, at=clock.now + 3_600): "InvalidProviderToken",
        provider_token(sandbox, at=clock.now - 3_601): "ExpiredProviderToken",
    }
    for token, expected in tokens.items():
        wanted = headers(sandbox, clock, authorization=f"bearer {token}")
        got = await apns.request(f"/3/device/{DEVICE}", msgspec.json.encode(PAYLOAD), wanted)
        assert reason(got) == (403, expected)


async def test_a_known_token_still_expires(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """A token that was good is refused once its hour is over."""
    wanted, body = headers(sandbox, clock), msgspec.json.encode(PAYLOAD)
    assert (await apns.request(f"/3/device/{DEVICE}", body, wanted)).status == 200
    clock.now += 3_601
    assert reason(await apns.request(f"/3/device/{DEVICE}", body, wanted)) == (403, "ExpiredProviderToken")


async def test_paths_methods_and_tokens(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """A wrong method, path or device token is refused as Apple does."""
    wanted, body = headers(sandbox, clock), msgspec.json.encode(PAYLOAD)
    get = await apns.request(f"/3/device/{DEVICE}", headers=wanted, method="GET")
    assert reason(get) == (405, "MethodNotAllowed")
    assert reason(await apns.request("/2/device/x", body, wanted)) == (404, "BadPath")
    assert reason(await apns.request("/3/device/", body, wanted)) == (400, "MissingDeviceToken")
    assert reason(await apns.request("/3/device/hello", body, wanted)) == (400, "BadDeviceToken")


async def test_a_token_of_another_topic(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """A device minted for another app is not for this topic; one minted here is, also after a restart."""
    body = msgspec.json.encode(PAYLOAD)
    foreign, own = await sandbox.mint_device("com.example.another"), await sandbox.mint_device()
    got = await apns.request(f"/3/device/{foreign}", body, headers(sandbox, clock))
    assert reason(got) == (400, "DeviceTokenNotForTopic")
    assert (await apns.request(f"/3/device/{own}", body, headers(sandbox, clock))).status == 200


async def test_payload_limits(sandbox: Sandbox, apns: H2Client, clock: Clock) -> None:
    """4,096 bytes pass, one more does not; VoIP has 5,120; nothing and no aps are empty."""
    frame = len(msgspec.json.encode({"aps": {"alert": ""}}))

    async def send(size: int, push_type: str = "alert", topic: str = "") -> Got:
        body = msgspec.json.encode({"aps": {"alert": "x" * (size - frame)}})
        assert len(body) == size
        changed = {"apns_push_type": push_type, "apns_topic": sandbox.credentials.apns_topic + topic}
        return await apns.request(f"/3/device/{DEVICE}", body, headers(sandbox, clock, **changed))

    assert (await send(4_096)).status == 200
    assert reason(await send(4_097)) == (413, "PayloadTooLarge")
    assert (await send(5_120, "voip", ".voip")).status == 200
    assert reason(await send(5_121, "voip", ".voip")) == (413, "PayloadTooLarge")
    assert reason(await send(100_000)) == (413, "PayloadTooLarge")
    for body in (b"", b"{}", b"not json", b"[]"):
        got = await apns.request(f"/3/device/{DEVICE}", body, headers(sandbox, clock))
        assert reason(got) == (400, "PayloadEmpty")


async def test_nothing_but_http2_over_tls(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    """A client without HTTP/2, or one that does not trust the CA, gets nowhere."""
    with pytest.raises(aiohttp.ClientError):
        await web.post(f"{sandbox.urls.apns}/3/device/{DEVICE}", json=PAYLOAD)
    system = ssl.create_default_context()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=system)) as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.post(f"{sandbox.urls.fcm}/token")
