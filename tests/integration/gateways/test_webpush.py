"""Every answer of a push service has its outcome, and no request goes where it may not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest

from domain.deliveries.outcome import Accepted, Expired, Gone, Outcome, Rejected, Retry, Unknown
from domain.errors import TooLarge
from domain.message import Content
from gateways.keys.push_encryption import PLAIN_BYTES_MAX
from gateways.port import ChannelHalted, Target
from infra.sandbox import Respond
from infra.sandbox.providers.webpush import decrypt
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import Providers, Send


def received(providers: Providers, browser: Target, request: dict[str, Any]) -> Any:
    """What the service worker gets: decrypted with the browser's own key."""
    id = json.loads(browser.address)["endpoint"].rpartition("/")[2]
    return json.loads(decrypt(request["payload"], providers.sandbox.webpush.subscriptions[id]))


@pytest.mark.parametrize("status", [201, 202, 200])
async def test_accepted(status: int, providers: Providers, send: Send) -> None:
    """Taken, not delivered; the push service's name for it is kept."""
    message, [browser] = uuid4(), await providers.targets("webpush")
    providers.tell("webpush", Respond(status, headers={"location": "https://push.example/m/1"}), browser)
    [outcome] = await send("webpush", [browser], message=message)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_id == ("https://push.example/m/1" if status != 200 else "")
    assert await providers.arrived(message) == 1


async def test_a_shortened_life_is_noted(providers: Providers, send: Send) -> None:
    """A service that keeps the message for less than asked says so, and we keep that."""
    [browser] = await providers.targets("webpush")
    providers.tell("webpush", Respond(201, headers={"ttl": "60"}), browser)
    [outcome] = await send("webpush", [browser], ttl_s=3_600)
    assert isinstance(outcome, Accepted)
    assert outcome.detail == "ttl=60"


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Respond(404, "no such subscription"), Gone("404", detail="no such subscription")),
        (Respond(410, "gone"), Gone("410", detail="gone")),
        (Respond(413, "too large"), Rejected("413", detail="too large")),
        *(
            (Respond(status, body="", headers={"location": "https://127.0.0.1:1/"}), Rejected(str(status)))
            for status in (301, 302, 303, 307, 308)
        ),
        (Respond(400, "bad"), Rejected("400", detail="bad")),
        (Respond(500, "oops"), Unknown("500", "oops")),
        (Respond(502, "oops"), Unknown("502", "oops")),
        (Respond(504, "oops"), Unknown("504", "oops")),
    ],
)
async def test_refusals(action: Respond, expected: Outcome, providers: Providers, send: Send) -> None:
    """One browser's refusal is that browser's. A redirect is never followed."""
    browsers = await providers.targets("webpush", 3)
    providers.tell("webpush", action, browsers[1])
    outcomes = await send("webpush", browsers)
    assert outcomes[1] == expected
    assert [type(outcomes[n]) for n in (0, 2)] == [Accepted, Accepted]


@pytest.mark.parametrize(
    ("action", "least_s", "most_s"),
    [
        (Respond(429, "slow"), 300.0, 360.0),
        (Respond(429, "slow", headers={"retry-after": "20"}), 20.0, 24.0),
        (Respond(503, "later"), 1.0, 1.2),
        (Respond(408, "slow you are"), 1.0, 1.2),
        (Respond(503, "later", headers={"retry-after": "5"}), 5.0, 6.0),
    ],
)
async def test_retries(
    action: Respond, least_s: float, most_s: float, providers: Providers, send: Send
) -> None:
    """After what the service asks for, else 300 s after a 429."""
    [browser] = await providers.targets("webpush")
    providers.tell("webpush", action, browser)
    [outcome] = await send("webpush", [browser])
    assert isinstance(outcome, Retry)
    assert outcome.after_s is not None
    assert least_s <= outcome.after_s <= most_s


async def test_a_retry_date(providers: Providers, send: Send) -> None:
    """Retry-After may be a date; later than the message lives, it is over."""
    from email.utils import format_datetime

    [browser] = await providers.targets("webpush")
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    providers.tell("webpush", Respond(503, headers={"retry-after": date}), browser)
    [outcome] = await send("webpush", [browser])
    assert isinstance(outcome, Retry)
    assert outcome.after_s is not None
    assert 90 < outcome.after_s < 125
    providers.tell("webpush", Respond(503, headers={"retry-after": date}), browser)
    assert await send("webpush", [browser], ttl_s=30) == [Expired(detail="503")]


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_halt_the_channel(status: int, providers: Providers, send: Send) -> None:
    """The VAPID key or its subject is not accepted; unless other browsers' messages are taken."""
    browsers = await providers.targets("webpush", 2)
    providers.tell("webpush", Respond(status, "no"), browsers[0])
    assert [type(outcome) for outcome in await send("webpush", browsers)] == [Retry, Accepted]
    fresh = providers.gateway("webpush")
    providers.tell("webpush", Respond(status, "no"), browsers[0])
    try:
        with pytest.raises(ChannelHalted, match=str(status)):
            await fresh.send(notice(), [browsers[0]], deadline_s=10.0)
    finally:
        await fresh.aclose()


async def test_a_subscription_to_another_key(providers: Providers, send: Send) -> None:
    """As the push service itself finds it: one user's subscription stops nobody else."""
    minted = await providers.sandbox.mint_subscription("B" * 87)
    keys = {"p256dh": minted.p256dh, "auth": minted.auth}
    await send("webpush", await providers.targets("webpush"))
    [outcome] = await send("webpush", [target(json.dumps({"endpoint": minted.endpoint, "keys": keys}))])
    assert isinstance(outcome, Retry)
    assert outcome.code == "403"


@pytest.mark.parametrize(("urgency", "said"), [(1, "very-low"), (2, "low"), (3, "normal"), (4, "high")])
async def test_what_a_request_says(urgency: int, said: str, providers: Providers, send: Send) -> None:
    """TTL, Urgency, a Topic that lets a repeat replace what still waits."""
    message, browsers = uuid4(), await providers.targets("webpush", 2)
    topics = set()
    for _ in range(2):
        await send("webpush", browsers, message=message, urgency=urgency, ttl_s=900)
        for browser in browsers:
            headers = (await providers.last_request(browser))["headers"]
            topics.add(headers["topic"])
            assert headers["urgency"] == said
            assert headers["ttl"] in {"899", "900"}
            assert headers["content-encoding"] == "aes128gcm"
    assert len(topics) == 2
    assert all(len(topic) == 32 for topic in topics)


async def test_what_a_browser_gets(providers: Providers, send: Send) -> None:
    """The sender's opts with ours on top, as the exchange's service workers have always read it."""
    message, [browser] = uuid4(), await providers.targets("webpush")
    opts = {"icon": "/i.png", "msg": "mine", "ok": False, "data": {"n": 1}}
    await send("webpush", [browser], "Hallo Wörld", "Títle", opts, message=message, tid="t1")
    assert received(providers, browser, await providers.last_request(browser)) == {
        "icon": "/i.png",
        "data": {"n": 1},
        "msg": "Hallo Wörld",
        "title": "Títle",
        "ok": True,
        "slug": "/thread/t1",
        "message_id": message.hex,
    }


async def test_vapid_is_signed_once_for_an_origin(providers: Providers, send: Send) -> None:
    """One header for hours, good for less than a day, in our name."""
    browsers, signed = await providers.targets("webpush", 3), set()
    for browser in browsers:
        await send("webpush", [browser])
        signed.add((await providers.last_request(browser))["headers"]["authorization"])
    assert len(signed) == 1
    from gateways.keys.push_encryption import Vapid

    now = datetime.now(UTC)
    header = Vapid(providers.vapid_key, "mailto:push@example.org", lambda: now).header("https://push.example")
    token = header.removeprefix("vapid t=").partition(",")[0]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == "https://push.example"
    assert claims["sub"] == "mailto:push@example.org"
    assert 3_600 < claims["exp"] - now.timestamp() < 86_400


async def test_a_payload_as_large_as_goes(providers: Providers, send: Send) -> None:
    """4,096 bytes once encrypted; one byte more is refused before it is accepted, and never sent."""
    gateway, [browser], message = providers.gateway("webpush"), await providers.targets("webpush"), uuid4()
    room = PLAIN_BYTES_MAX - len(
        json.dumps({"msg": "", "ok": True, "message_id": message.hex}, separators=(",", ":"))
    )
    [outcome] = await send("webpush", [browser], "x" * room, "", tid=None)
    assert isinstance(outcome, Accepted)
    assert len((await providers.last_request(browser))["payload"]) == 4_096
    assert await send("webpush", [browser], "x" * (room + 1), "", message=message, tid=None) == [
        Rejected("PayloadTooLarge")
    ]
    assert await providers.arrived(message) == 0
    with pytest.raises(TooLarge):
        gateway.check(Content("x" * (room + 1)))
    await gateway.aclose()


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "https://evil.example/push/1"},
        {"endpoint": "http://127.0.0.1/push/1"},
        {"endpoint": "https://127.0.0.1/push/1"},
        {"endpoint": "https://169.254.169.254/latest/meta-data"},
        {"keys": {"p256dh": "AAAA", "auth": "AAAA"}},
        {"keys": {"p256dh": "!", "auth": ""}},
        {"keys": {}},
        {"endpoint": 7},
    ],
)
async def test_an_address_that_is_no_subscription(
    change: dict[str, Any], providers: Providers, send: Send
) -> None:
    """Refused without a request, and without harm to the others of the slice."""
    good, bad = await providers.targets("webpush", 2)
    broken = target(json.dumps({**json.loads(bad.address), **change}))
    outcomes = await send("webpush", [broken, good, target("no json")])
    assert [type(outcome) for outcome in outcomes] == [Rejected, Accepted, Rejected]
    assert all(outcome.quarantine for outcome in (outcomes[0], outcomes[2]))


async def test_a_slow_push_service_delays_no_other(providers: Providers, unused_tcp_port: int) -> None:
    """Each has connections of its own: what the good one takes is known, whatever the other does."""
    dead = f"127.0.0.1:{unused_tcp_port}"
    hosts = [providers.sandbox.webpush_host, dead]
    gateway = providers.gateway("webpush", allowed_hosts=hosts)
    good, other = await providers.targets("webpush", 2)
    elsewhere = target(other.address.replace(providers.sandbox.webpush_host, dead))
    outcomes = await gateway.send(notice(), [elsewhere, good], deadline_s=2.0)
    assert [type(outcome) for outcome in outcomes] == [Retry, Accepted]
    await gateway.aclose()
