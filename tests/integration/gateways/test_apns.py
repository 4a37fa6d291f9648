"""Every APNs answer has its outcome, and every request says what Apple wants to hear."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4, uuid5

import jwt
import pytest

from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry
from domain.errors import TooLarge
from domain.message import Content
from gateways.apns import TOKEN_S, ApnsGateway, ProviderToken
from gateways.http2 import Http2Transport
from gateways.port import ChannelHalted
from infra.sandbox import Respond
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import Providers, Send, make_key

DIED_AT = datetime(2026, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)


async def test_accepted(providers: Providers, send: Send) -> None:
    """200 is Accepted, not delivered, with the apns-id we gave."""
    message, [device] = uuid4(), await providers.targets("apns")
    assert device.client is not None
    assert await send("apns", [device], message=message) == [Accepted(str(uuid5(message, device.client.hex)))]
    assert await providers.arrived(message) == 1


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Respond(400, "BadDeviceToken"), Rejected("BadDeviceToken", quarantine=True)),
        (Respond(400, "DeviceTokenNotForTopic"), Rejected("DeviceTokenNotForTopic", quarantine=True)),
        (
            Respond(410, body=f'{{"reason":"Unregistered","timestamp":{int(DIED_AT.timestamp() * 1000)}}}'),
            Gone("Unregistered", DIED_AT),
        ),
        (
            Respond(410, body=f'{{"reason":"ExpiredToken","timestamp":{int(DIED_AT.timestamp() * 1000)}}}'),
            Gone("ExpiredToken", DIED_AT),
        ),
        (Respond(410, body=""), Gone("410", confirm=True)),
        (
            Respond(410, body='{"reason":"Unregistered","timestamp":1800000000000000000}'),
            Gone("Unregistered", confirm=True),
        ),
        (Respond(400, body="[" * 60_000), Retry("400")),
        (Respond(413, "PayloadTooLarge"), Rejected("PayloadTooLarge")),
        (Respond(413, body=""), Rejected("413")),
        (Respond(400, "PayloadEmpty"), Rejected("PayloadEmpty")),
        (Respond(400, "BadPayload"), Rejected("BadPayload")),
        (Respond(429, "TooManyRequests"), Retry("TooManyRequests")),
        (Respond(429, "TooManyProviderTokenUpdates"), Retry("TooManyProviderTokenUpdates", 1_200.0)),
        (Respond(500, "InternalServerError"), Retry("InternalServerError")),
        (Respond(503, "ServiceUnavailable"), Retry("ServiceUnavailable")),
        (Respond(503, "Shutdown"), Retry("Shutdown")),
        (Respond(503, body="<html>"), Retry("503")),
        (
            Respond(302, headers={"location": "https://127.0.0.1:1/"}, body=""),
            Rejected("302", detail="unexpected status 302"),
        ),
    ],
)
async def test_refusals(action: Respond, expected: Outcome, providers: Providers, send: Send) -> None:
    """One device's refusal is that device's; the others of the slice get theirs."""
    devices = await providers.targets("apns", 3)
    providers.tell("apns", action, devices[1])
    outcomes = await send("apns", devices)
    assert outcomes[1] == expected
    assert [type(outcomes[n]) for n in (0, 2)] == [Accepted, Accepted]


async def test_a_token_of_another_topic(providers: Providers, send: Send) -> None:
    """As the provider itself finds it."""
    device = target(await providers.sandbox.mint_device("org.example.other"))
    assert await send("apns", [device]) == [Rejected("DeviceTokenNotForTopic", quarantine=True)]


async def test_an_address_that_cannot_be_a_token(providers: Providers, send: Send) -> None:
    """Nothing is put into a path that does not belong there, and no request is made."""
    [good] = await providers.targets("apns")
    outcomes = await send("apns", [target("../../evil?x=1"), good, target("")])
    assert [type(outcome) for outcome in outcomes] == [Rejected, Accepted, Rejected]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "InvalidProviderToken"),
        (403, "Forbidden"),
        (403, "MissingProviderToken"),
        (403, "UnrelatedKeyIdInToken"),
        (400, "BadTopic"),
        (400, "MissingTopic"),
        (400, "TopicDisallowed"),
        (400, "InvalidPushType"),
        (400, "BadPriority"),
        (400, "BadExpirationDate"),
        (400, "BadMessageId"),
        (400, "BadCollapseId"),
        (400, "DuplicateHeaders"),
        (400, "MissingDeviceToken"),
        (404, "BadPath"),
        (405, "MethodNotAllowed"),
    ],
)
async def test_refused_credentials_halt_the_channel(
    status: int, reason: str, providers: Providers, send: Send
) -> None:
    """No address is to blame: the work waits, and what was accepted is known."""
    devices = await providers.targets("apns", 3)
    providers.tell("apns", Respond(status, reason), devices[1])
    with pytest.raises(ChannelHalted) as halted:
        await send("apns", devices)
    assert halted.value.code == reason
    assert [type(outcome) for outcome in halted.value.outcomes] == [Accepted, Retry, Accepted]


async def test_a_wrong_key_halts_the_channel(providers: Providers) -> None:
    """As the provider itself finds it."""
    gateway = providers.gateway("apns", key_pem=make_key())
    with pytest.raises(ChannelHalted, match="InvalidProviderToken"):
        await gateway.send(notice(), await providers.targets("apns", 2), deadline_s=5.0)
    await gateway.aclose()


async def test_an_expired_token_is_signed_again_once(providers: Providers) -> None:
    """The send is Retry and the next one carries a new token; expired again at once, it is for people to mend."""
    gateway = providers.gateway("apns")
    [device] = await providers.targets("apns")
    providers.tell("apns", Respond(403, "ExpiredProviderToken"), device)
    assert await gateway.send(notice(), [device], deadline_s=5.0) == [Retry("ExpiredProviderToken", 0.0)]
    refused_with = (await providers.last_request(device))["headers"]["authorization"]
    [outcome] = await gateway.send(notice(), [device], deadline_s=5.0)
    assert isinstance(outcome, Accepted)
    assert (await providers.last_request(device))["headers"]["authorization"] != refused_with
    providers.tell("apns", Respond(403, "ExpiredProviderToken"), device)
    with pytest.raises(ChannelHalted, match="ExpiredProviderToken"):
        await gateway.send(notice(), [device], deadline_s=5.0)
    await gateway.aclose()


def test_one_token_for_all_processes() -> None:
    """Within its window every process makes the same bytes; each window has its own, between 20 and 60 minutes old."""
    key = make_key()
    one, other = ProviderToken(key, "ABC", "TEAM"), ProviderToken(key, "ABC", "TEAM")
    now = start = datetime(2026, 1, 1, tzinfo=UTC)
    tokens: set[str] = set()
    for minute in range(0, 240, 5):
        now = start + timedelta(minutes=minute)
        token = one.at(now)
        assert token == other.at(now)
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        assert 0 < now.timestamp() - claims["iat"] < 3_600
        assert claims["iss"] == "TEAM"
        tokens.add(token)
    assert len(tokens) <= 240 * 60 / TOKEN_S + 1
    assert jwt.get_unverified_header(one.at(now)) == {"alg": "ES256", "kid": "ABC"}


@pytest.mark.parametrize(("urgency", "priority"), [(1, "1"), (2, "5"), (3, "10"), (4, "10")])
async def test_what_a_request_says(urgency: int, priority: str, providers: Providers, send: Send) -> None:
    """Topic, push type, expiration, priority always; ids that stay the same when the send is repeated."""
    message, [device] = uuid4(), await providers.targets("apns")
    for _ in range(2):
        await send("apns", [device], message=message, urgency=urgency, ttl_s=600)
    assert device.client is not None
    headers = (await providers.last_request(device))["headers"]
    id = str(uuid5(message, device.client.hex))
    assert (headers["apns-id"], headers["apns-collapse-id"]) == (id, id)
    assert headers["apns-topic"] == providers.sandbox.credentials.apns_topic
    assert headers["apns-push-type"] == "alert"
    assert headers["apns-priority"] == priority
    left_s = int(headers["apns-expiration"]) - datetime.now(UTC).timestamp()
    assert 590 < left_s <= 600


async def test_a_message_with_no_time_to_live(providers: Providers, send: Send) -> None:
    """One try at once: expiration 0."""
    [device] = await providers.targets("apns")
    assert [type(outcome) for outcome in await send("apns", [device], ttl_s=0)] == [Accepted]
    assert (await providers.last_request(device))["headers"]["apns-expiration"] == "0"


async def test_the_payload(providers: Providers, send: Send) -> None:
    """Title and text, the sender's sound and data, and our ids, which a sender cannot overwrite."""
    message, [device] = uuid4(), await providers.targets("apns")
    opts = {"sound": "horn.aiff", "payload": {"order": 7, "aps": "mine", "msgxc": "mine"}}
    await send("apns", [device], "Hallo Wörld", "Títle", opts, message=message, tid="t1")
    sent = json.loads((await providers.last_request(device))["payload"])
    assert sent == {
        "aps": {
            "alert": {"title": "Títle", "body": "Hallo Wörld"},
            "sound": "horn.aiff",
            "badge": 1,
            "thread-id": "t1",
        },
        "msgxc": {"message_id": message.hex, "tid": "t1"},
        "order": 7,
    }
    await send("apns", [device], "x", "", {"data": {"k": 1}}, tid=None)
    sent = json.loads((await providers.last_request(device))["payload"])
    assert (sent["aps"], sent["k"]) == ({"alert": {"body": "x"}, "sound": "ping.aiff", "badge": 1}, 1)


async def test_a_payload_beyond_apples_limit(providers: Providers, send: Send) -> None:
    """Refused before it is accepted, and never sent when it comes all the same."""
    gateway = providers.gateway("apns")
    gateway.check(Content("x" * 3_800))
    with pytest.raises(TooLarge):
        gateway.check(Content("ü" * 2_000))
    message, [device] = uuid4(), await providers.targets("apns")
    assert await send("apns", [device], "x" * 5_000, message=message) == [Rejected("PayloadTooLarge")]
    assert await providers.arrived(message) == 0


async def test_a_whole_slice(providers: Providers, send: Send) -> None:
    """Five hundred at once over one connection, each with its own outcome."""
    message, devices = uuid4(), [target(f"{n:064x}") for n in range(500)]
    providers.tell("apns", Respond(410, "Unregistered"), *devices[::50])
    outcomes = await send("apns", devices, message=message, deadline_s=20.0)
    assert [type(outcome) for outcome in outcomes] == [Gone if n % 50 == 0 else Accepted for n in range(500)]
    assert await providers.arrived(message) == 490


def test_a_token_signed_again_is_left_its_twenty_minutes() -> None:
    """Apple counts updates: after signing anew the next window's token waits, and none grows older than an hour."""
    token, updates = ProviderToken(make_key(), "ABC", "TEAM"), []
    start = datetime(2026, 1, 1, 0, 39, tzinfo=UTC)  # three minutes before a window's token is due
    token.at(start)
    assert token.sign_again(start)
    assert not token.sign_again(start + timedelta(minutes=1))
    last = token.at(start)
    for second in range(0, 7_200, 10):
        now = start + timedelta(seconds=second)
        current = token.at(now)
        issued_at = jwt.decode(current, options={"verify_signature": False})["iat"]
        assert now.timestamp() - issued_at < 3_600
        if current != last:
            updates.append(second)
            last = current
    assert all(later - earlier >= 1_200 for earlier, later in zip([0, *updates], updates, strict=False))
    assert updates


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_of_apples_in_trouble_is_left(status: int, providers: Providers) -> None:
    """The retry goes over a new connection."""
    gateway, [device] = providers.gateway("apns"), await providers.targets("apns")
    assert isinstance(gateway, ApnsGateway)
    assert isinstance(gateway._transport, Http2Transport)
    await gateway.send(notice(), [device], deadline_s=5.0)
    [first] = gateway._transport._connections
    providers.tell("apns", Respond(status, "InternalServerError"), device)
    assert await gateway.send(notice(), [device], deadline_s=5.0) == [Retry("InternalServerError")]
    assert [type(each) for each in await gateway.send(notice(), [device], deadline_s=5.0)] == [Accepted]
    assert first.ended
    assert first not in gateway._transport._connections
    await gateway.aclose()
