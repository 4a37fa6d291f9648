"""Every FCM answer has its outcome; its token is fetched once and renewed in time."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4, uuid5

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from firebase_admin import messaging

from domain.deliveries.outcome import Accepted, Expired, Gone, Outcome, Rejected, Retry
from domain.errors import Invalid, TooLarge
from domain.message import Content
from gateways.keys.google_token import RENEW_BEFORE_S, GoogleToken, TokenUnavailable
from gateways.port import ChannelHalted
from infra.sandbox import Respond
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import Providers, Send


def invalid(message: str) -> Respond:
    error = {
        "code": 400,
        "message": message,
        "status": "INVALID_ARGUMENT",
        "details": [
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"}
        ],
    }
    return Respond(400, body=json.dumps({"error": error}))


BAD_TOKEN = "The registration token is not a valid FCM registration token"
BAD_FIELD = "Invalid value at 'message.data[0].value' (TYPE_STRING), 7"
NOT_FOUND = "Requested entity was not found."


async def test_accepted(providers: Providers, send: Send) -> None:
    """200 is Accepted, with the name FCM gave the message."""
    message, [phone] = uuid4(), await providers.targets("fcm")
    [outcome] = await send("fcm", [phone], message=message)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_id.startswith("projects/")
    assert await providers.arrived(message) == 1


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Respond(404, "UNREGISTERED"), Gone("UNREGISTERED", confirm=True, detail=NOT_FOUND)),
        (invalid(BAD_TOKEN), Gone("INVALID_ARGUMENT", detail=BAD_TOKEN)),
        (invalid(BAD_FIELD), Rejected("INVALID_ARGUMENT", detail=BAD_FIELD)),
        (
            Respond(404, body='{"error":{"status":"NOT_FOUND","message":"gone"}}'),
            Rejected("NOT_FOUND", detail="gone"),
        ),
        (Respond(413, body="too much"), Rejected("413")),
        (Respond(400, body='{"error":{"details":5}}'), Rejected("400")),
    ],
)
async def test_refusals(action: Respond, expected: Outcome, providers: Providers, send: Send) -> None:
    """An address is only ever called gone in the words that say so."""
    phones = await providers.targets("fcm", 3)
    providers.tell("fcm", action, phones[1])
    outcomes = await send("fcm", phones)
    assert outcomes[1] == expected
    assert [type(outcomes[n]) for n in (0, 2)] == [Accepted, Accepted]


@pytest.mark.parametrize(
    ("action", "code", "wait_s"),
    [
        (Respond(429, "QUOTA_EXCEEDED"), "QUOTA_EXCEEDED", 60.0),
        (Respond(429, "QUOTA_EXCEEDED", headers={"retry-after": "7"}), "QUOTA_EXCEEDED", 7.0),
        (Respond(500, "INTERNAL"), "INTERNAL", 1.0),
        (Respond(503, "UNAVAILABLE"), "UNAVAILABLE", 1.0),
        (Respond(503, "UNAVAILABLE", headers={"retry-after": "30"}), "UNAVAILABLE", 30.0),
        (Respond(502, body="<html>bad gateway"), "502", 1.0),
    ],
)
async def test_retries(action: Respond, code: str, wait_s: float, providers: Providers, send: Send) -> None:
    """After what FCM asks for, else from 60 s for a quota and 1 s for its own trouble."""
    phones = await providers.targets("fcm", 5)
    providers.tell("fcm", action, *phones)
    outcomes = await send("fcm", phones)
    waits = [outcome.after_s for outcome in outcomes if isinstance(outcome, Retry) and outcome.code == code]
    assert waits == [wait_s] * 5


async def test_a_retry_after_the_messages_life_is_expired(providers: Providers, send: Send) -> None:
    """When FCM says to come back later than the message lives, it is over."""
    [phone] = await providers.targets("fcm")
    providers.tell("fcm", Respond(429, "QUOTA_EXCEEDED"), phone)
    assert await send("fcm", [phone], ttl_s=30) == [Expired(detail="QUOTA_EXCEEDED")]


async def test_refused_credentials_halt_the_channel(providers: Providers, send: Send) -> None:
    """No address is removed for it."""
    phones = await providers.targets("fcm", 3)
    providers.tell("fcm", Respond(401, "UNAUTHENTICATED"), phones[1])
    with pytest.raises(ChannelHalted, match="UNAUTHENTICATED") as halted:
        await send("fcm", phones)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Accepted, Retry, Accepted]


@pytest.mark.parametrize(("status", "code"), [(403, "SENDER_ID_MISMATCH"), (401, "THIRD_PARTY_AUTH_ERROR")])
async def test_what_may_be_the_tokens_fault_halts_a_channel_without_credit(
    status: int, code: str, providers: Providers, send: Send
) -> None:
    """Among tokens that are taken it is tried again; alone, and nothing taken before, it may be our credentials."""
    phones = await providers.targets("fcm", 3)
    providers.tell("fcm", Respond(status, code), phones[1])
    assert [type(outcome) for outcome in await send("fcm", phones)] == [Accepted, Retry, Accepted]
    fresh = providers.gateway("fcm")
    providers.tell("fcm", Respond(status, code), phones[1])
    try:
        with pytest.raises(ChannelHalted, match=code):
            await fresh.send(notice(), [phones[1]], deadline_s=10.0)
    finally:
        await fresh.aclose()


async def test_a_token_of_another_project(providers: Providers, send: Send) -> None:
    """As the provider itself finds it: it waits for its next try, and stops nobody else."""
    phone = target(await providers.sandbox.mint_registration("another-project"))
    [outcome] = await send("fcm", [phone])
    assert isinstance(outcome, Retry)
    assert outcome.code == "SENDER_ID_MISMATCH"


async def test_a_wrong_service_account_halts_the_channel(providers: Providers) -> None:
    """The token endpoint refuses it: nothing was sent."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {**providers.configs["fcm"]["credentials_info"], "private_key": pem}
    gateway = providers.gateway("fcm", credentials_info=account)
    with pytest.raises(ChannelHalted, match="oauth") as halted:
        await gateway.send(notice(), await providers.targets("fcm", 2), deadline_s=10.0)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Retry, Retry]
    await gateway.aclose()


async def test_a_token_endpoint_that_is_not_there(providers: Providers, unused_tcp_port: int) -> None:
    """No token, nothing sent, not our fault: Retry, on time."""
    account = {
        **providers.configs["fcm"]["credentials_info"],
        "token_uri": f"https://127.0.0.1:{unused_tcp_port}/token",
    }
    gateway = providers.gateway("fcm", credentials_info=account)
    started = time.monotonic()
    [outcome] = await gateway.send(notice(), await providers.targets("fcm"), deadline_s=1.0)
    assert time.monotonic() - started < 2.0
    assert isinstance(outcome, Retry)
    assert outcome.code == "oauth"
    await gateway.aclose()


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def test_one_token_serves_until_its_last_minutes(providers: Providers) -> None:
    """Many ask at once, one is fetched; near its end it is renewed while the old one still serves."""
    clock, fcm = Clock(), providers.sandbox.fcm
    config = providers.configs["fcm"]
    token = GoogleToken(config["credentials_info"], ca_file=config["ca_file"], clock=clock)
    issued = fcm.tokens_issued
    first = set(await asyncio.gather(*(token.get(timeout_s=10.0) for _ in range(20))))
    assert len(first) == 1
    assert fcm.tokens_issued == issued + 1
    clock.now += 3_600 - RENEW_BEFORE_S + 60
    assert {await token.get(timeout_s=10.0)} == first
    async with asyncio.timeout(10.0):
        while fcm.tokens_issued == issued + 1 or {await token.get(timeout_s=10.0)} == first:
            await asyncio.sleep(0.01)
    await token.aclose()


async def test_a_token_endpoint_that_hangs(providers: Providers) -> None:
    """Whoever waits for a token waits no longer than it may."""
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    account = {**providers.configs["fcm"]["credentials_info"], "token_uri": f"https://127.0.0.1:{port}/token"}
    token = GoogleToken(account)
    started = time.monotonic()
    with pytest.raises(TokenUnavailable):
        await token.get(timeout_s=0.5)
    assert time.monotonic() - started < 1.5
    await token.aclose()
    listener.close()


@pytest.mark.parametrize(
    ("urgency", "android", "apns", "web"),
    [
        (1, "NORMAL", "1", "very-low"),
        (2, "NORMAL", "5", "low"),
        (3, "HIGH", "10", "normal"),
        (4, "HIGH", "10", "high"),
    ],
)
async def test_what_a_message_says(
    urgency: int, android: str, apns: str, web: str, providers: Providers, send: Send
) -> None:
    """Priorities from urgency, time to live, ids that let a repeat replace, data as text."""
    message, [phone] = uuid4(), await providers.targets("fcm")
    opts = {"data": {"order": 7, "name": "Zoë"}}
    await send("fcm", [phone], "Hallo", "Títle", opts, message=message, urgency=urgency, ttl_s=900, tid="t1")
    sent = json.loads((await providers.last_request(phone))["payload"])["message"]
    assert phone.client is not None
    id = str(uuid5(message, phone.client.hex))
    assert sent["token"] == phone.address
    assert sent["notification"] == {"title": "Títle", "body": "Hallo"}
    assert sent["data"] == {"order": "7", "name": "Zoë", "message_id": message.hex, "tid": "t1"}
    assert sent["android"]["priority"] == android
    assert sent["android"]["ttl"] in {"899s", "900s"}
    assert (sent["android"]["collapse_key"], sent["android"]["notification"]["tag"]) == (id, id)
    assert (sent["apns"]["headers"]["apns-priority"], sent["apns"]["headers"]["apns-collapse-id"]) == (
        apns,
        id,
    )
    assert sent["webpush"]["headers"]["Urgency"] == web


@pytest.mark.parametrize(
    ("sound", "told"),
    [
        ("chime.aiff", {"sound": "chime.aiff"}),
        ({"critical": 1, "name": "alarm.aiff", "volume": 0.5}, {"sound": "alarm.aiff"}),
        ({"critical": 1}, {}),
        ("", {}),
    ],
)
async def test_a_sound_is_a_files_name(
    sound: str | dict[str, Any], told: dict[str, str], providers: Providers, send: Send
) -> None:
    """Android knows no other; of Apple's object it gets the name."""
    message, [phone] = uuid4(), await providers.targets("fcm")
    await send("fcm", [phone], "Hallo", "Title", {"sound": sound}, message=message, ttl_s=900, tid=None)
    sent = json.loads((await providers.last_request(phone))["payload"])["message"]
    assert phone.client is not None
    assert sent["android"]["notification"] == {"tag": str(uuid5(message, phone.client.hex)), **told}


@pytest.mark.filterwarnings("ignore:Message.token is deprecated")
async def test_firebase_admin_would_say_the_same(providers: Providers, send: Send) -> None:
    """The library's own encoder, fed with the same, gives the same JSON: names and forms are right."""
    message, [phone] = uuid4(), await providers.targets("fcm")
    await send("fcm", [phone], "Hallo", "Title", message=message, ttl_s=0, tid=None)
    sent: dict[str, Any] = json.loads((await providers.last_request(phone))["payload"])["message"]
    assert phone.client is not None
    id = str(uuid5(message, phone.client.hex))
    same = messaging.Message(
        token=phone.address,
        notification=messaging.Notification("Title", "Hallo"),
        data={"message_id": message.hex},
        android=messaging.AndroidConfig(
            collapse_key=id,
            priority="high",
            ttl=timedelta(0),
            notification=messaging.AndroidNotification(tag=id),
        ),
        apns=messaging.APNSConfig(headers=sent["apns"]["headers"]),
        webpush=messaging.WebpushConfig(headers={"TTL": "0", "Urgency": "normal"}),
    )
    encoded = json.loads(str(same))
    encoded["android"]["priority"] = encoded["android"]["priority"].upper()
    assert sent == encoded


async def test_no_text_of_a_sender_is_taken_for_a_token(providers: Providers, send: Send) -> None:
    """Quotes, backslashes and addresses in the text stay text."""
    text = 'say "token" \\ {} $1 \x07'
    phones = await providers.targets("fcm", 2)
    await send("fcm", phones, text, phones[0].address)
    for phone in phones:
        sent = json.loads((await providers.last_request(phone))["payload"])["message"]
        assert sent["notification"] == {"title": phones[0].address, "body": text}


async def test_what_fcm_cannot_carry(providers: Providers, send: Send) -> None:
    """Refused before the message is accepted; never sent when it comes all the same."""
    gateway = providers.gateway("fcm")
    gateway.check(Content("x" * 3_800))
    with pytest.raises(TooLarge):
        gateway.check(Content("x" * 4_100))
    for key in ("google.c", "gcm.n", "from", "message_type"):
        with pytest.raises(Invalid):
            gateway.check(Content("x", "", {"data": {key: "v"}}))
    message, [phone] = uuid4(), await providers.targets("fcm")
    assert await send("fcm", [phone], "x" * 5_000, message=message) == [Rejected("PayloadTooLarge")]
    assert await providers.arrived(message) == 0


async def test_a_very_long_life_is_four_weeks(providers: Providers, send: Send) -> None:
    """FCM's limit on the time to live."""
    [phone] = await providers.targets("fcm")
    await send("fcm", [phone], ttl_s=90 * 86_400)
    sent = json.loads((await providers.last_request(phone))["payload"])["message"]
    assert sent["android"]["ttl"] == "2419200s"
