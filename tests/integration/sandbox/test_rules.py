from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import h2.errors
import msgspec
import pytest

from infra.sandbox import GoAway, Hang, Proceed, Refuse, Reset, Respond, Rule, Rules, Sandbox
from infra.sandbox.rules import RULES_MAX
from tests.integration.sandbox.h2client import Closed, H2Client, WasReset
from tests.integration.sandbox.test_apns import DEVICE, PAYLOAD, headers, reason

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Clock

BODY = msgspec.json.encode(PAYLOAD)
OTHER = "cd" * 32


class Phone:
    """Sends good notifications, so that whatever comes back was told."""

    def __init__(self, sandbox: Sandbox, client: H2Client, clock: Clock) -> None:
        self.client, self._headers = client, headers(sandbox, clock)

    async def send(self, device: str = DEVICE) -> Any:
        return await self.client.request(f"/3/device/{device}", BODY, self._headers)

    def begin(self, device: str = DEVICE) -> tuple[int, asyncio.Future[Any]]:
        return self.client.send(f"/3/device/{device}", BODY, self._headers)


@pytest.fixture
def phone(sandbox: Sandbox, apns: H2Client, clock: Clock) -> Phone:
    return Phone(sandbox, apns, clock)


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (400, "BadDeviceToken", "BadDeviceToken"),
        (403, "Forbidden", "Forbidden"),
        (410, "ExpiredToken", "ExpiredToken"),
        (410, "", "Unregistered"),
        (429, "TooManyProviderTokenUpdates", "TooManyProviderTokenUpdates"),
        (500, "", "InternalServerError"),
        (503, "Shutdown", "Shutdown"),
    ],
)
async def test_any_status_and_reason(
    sandbox: Sandbox, phone: Phone, clock: Clock, status: int, told: str, expected: str
) -> None:
    """Whatever is told comes in the provider's own body, and 410 with its timestamp."""
    sandbox.rules.add("apns", Respond(status, told), exact=DEVICE)
    got = await phone.send()
    assert reason(got) == (status, expected)
    body = msgspec.json.decode(got.body)
    assert body.get("timestamp") == (int(clock.now * 1_000) if status == 410 else None)
    (item,), _ = await sandbox.books.messages(refused=True)
    assert (item.status, item.arrived, item.message_id) == (status, False, "m-1")


async def test_body_and_headers_as_told(sandbox: Sandbox, phone: Phone) -> None:
    """A told body and headers are sent as they are."""
    sandbox.rules.add("apns", Respond(503, body="<html>down</html>", headers={"Retry-After": "7"}))
    got = await phone.send()
    assert (got.status, got.body, got.headers["retry-after"]) == (503, b"<html>down</html>", "7")


async def test_a_rule_is_used_up(sandbox: Sandbox, phone: Phone) -> None:
    """A rule answers as often as its count says, and only for its address."""
    sandbox.rules.add("apns", Respond(500), exact=DEVICE, count=2)
    assert [(await phone.send()).status for _ in range(3)] == [500, 500, 200]
    sandbox.rules.add("apns", Respond(500), prefix="ab", count=None)
    assert [(await phone.send(device)).status for device in (DEVICE, OTHER, DEVICE)] == [500, 200, 500]
    sandbox.rules.clear()
    assert (await phone.send()).status == 200


async def test_exact_beats_prefix_beats_any(sandbox: Sandbox, phone: Phone) -> None:
    """The most particular rule wins, and among equals the oldest."""
    sandbox.rules.add("apns", Respond(503), count=None)
    sandbox.rules.add("apns", Respond(429), prefix="ab", count=None)
    sandbox.rules.add("apns", Respond(410), exact=DEVICE)
    sandbox.rules.add("apns", Respond(400), exact=DEVICE)
    assert [(await phone.send()).status for _ in range(3)] == [410, 400, 429]
    assert (await phone.send(OTHER)).status == 503


async def test_a_hang_answers_nobody_else_later(sandbox: Sandbox, phone: Phone) -> None:
    """One request hangs; those behind it on the same connection are answered."""
    sandbox.rules.add("apns", Hang(processed=True), exact=DEVICE)
    _, hanging = phone.begin()
    assert (await phone.send(OTHER)).status == 200
    assert not hanging.done()
    items, total = await sandbox.books.messages()
    assert total == 2
    assert [(item.address, item.status) for item in items] == [(DEVICE, None), (OTHER, 200)]


async def test_a_stream_is_reset(sandbox: Sandbox, phone: Phone) -> None:
    """RST_STREAM ends one request with the told error; the connection lives on."""
    sandbox.rules.add("apns", Reset(error="CANCEL"))
    sandbox.rules.add("apns", Refuse())
    with pytest.raises(WasReset) as reset:
        await phone.send()
    assert reset.value.code == h2.errors.ErrorCodes.CANCEL
    with pytest.raises(WasReset) as refused:
        await phone.send()
    assert refused.value.code == h2.errors.ErrorCodes.REFUSED_STREAM
    assert (await phone.send()).status == 200
    assert (await sandbox.books.messages())[1] == 1


async def test_a_connection_is_reset(sandbox: Sandbox, phone: Phone) -> None:
    """A TCP reset ends every request of the connection; new connections are welcome."""
    sandbox.rules.add("apns", Reset(connection=True), exact=DEVICE)
    sandbox.rules.add("apns", Hang(), exact=OTHER)
    _, hanging = phone.begin(OTHER)
    with pytest.raises(Closed):
        await phone.send()
    with pytest.raises(Closed):
        await hanging
    async with H2Client(sandbox.urls.apns, sandbox.ca_file) as fresh:
        assert (await fresh.request(f"/3/device/{DEVICE}", BODY, phone._headers)).status == 200


async def test_goaway_says_what_was_processed(sandbox: Sandbox, phone: Phone) -> None:
    """GOAWAY names the last stream processed: this one, or the one before it."""
    sandbox.rules.add("apns", Hang(), exact=OTHER)
    sandbox.rules.add("apns", GoAway(processed=True))
    phone.begin(OTHER)
    number, ended = phone.begin()
    with pytest.raises(Closed):
        await asyncio.wait_for(ended, 5)
    assert phone.client.goaway_last_stream == number
    async with H2Client(sandbox.urls.apns, sandbox.ca_file) as fresh:
        sandbox.rules.add("apns", GoAway())
        first, done = fresh.send(f"/3/device/{OTHER}", BODY, phone._headers)
        with pytest.raises(Closed):
            await asyncio.wait_for(done, 5)
        assert fresh.goaway_last_stream == max(0, first - 2)
    assert (await sandbox.books.messages())[1] == 1


async def test_goaway_may_linger(sandbox: Sandbox, phone: Phone) -> None:
    """Streams up to the last one are still answered while the connection lingers; later ones are ignored."""
    sandbox.rules.add("apns", Proceed(), exact=OTHER, delay_s=0.1)
    sandbox.rules.add("apns", GoAway(linger_s=0.4), exact=DEVICE)
    _, earlier = phone.begin(OTHER)
    _, ended = phone.begin(DEVICE)
    _, later = phone.begin("ef" * 32)
    assert (await asyncio.wait_for(earlier, 5)).status == 200
    for lost in (ended, later):
        with pytest.raises(Closed):
            await asyncio.wait_for(lost, 5)
    assert (await sandbox.books.messages())[1] == 1


async def test_a_body_in_pieces(sandbox: Sandbox, phone: Phone) -> None:
    """The usual or the told body arrives in as many frames as asked for."""
    sandbox.rules.add("apns", Respond(410, piece_bytes=10))
    got = await phone.send()
    assert reason(got) == (410, "Unregistered")
    assert got.pieces == -(-len(got.body) // 10)
    sandbox.rules.add("apns", Proceed(piece_bytes=7))
    got = await phone.send("nonsense")
    assert (reason(got), got.pieces) == ((400, "BadDeviceToken"), -(-len(got.body) // 7))


async def test_an_answer_can_be_late(sandbox: Sandbox, phone: Phone) -> None:
    """A delay holds one request, and no other."""
    sandbox.rules.add("apns", Respond(503), exact=DEVICE, delay_s=0.3)
    began = time.monotonic()
    _, late = phone.begin()
    assert (await phone.send(OTHER)).status == 200
    assert time.monotonic() - began < 0.3
    assert (await asyncio.wait_for(late, 5)).status == 503
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("action", [Reset(), Refuse(), GoAway()])
async def test_http1_ends_the_connection(sandbox: Sandbox, web: aiohttp.ClientSession, action: Any) -> None:
    """What HTTP/1.1 has no word for is the end of the connection."""
    sandbox.rules.add("sendgrid", action)
    with pytest.raises(aiohttp.ClientConnectionError):
        await web.post(f"{sandbox.urls.sendgrid}/v3/mail/send", json={"personalizations": []})
    assert (await sandbox.books.messages())[1] == 0


@pytest.mark.parametrize(
    ("channel", "path", "status", "told", "expected"),
    [
        ("fcm", "/v1/projects/p/messages:send", 404, "UNREGISTERED", b'"errorCode":"UNREGISTERED"'),
        ("fcm", "/v1/projects/p/messages:send", 429, "QUOTA_EXCEEDED", b'"status":"RESOURCE_EXHAUSTED"'),
        ("fcm", "/v1/projects/p/messages:send", 503, "", b'"status":"UNAVAILABLE"'),
        ("webpush", "/push/x", 410, "expired", b"expired"),
        ("twilio", "/2010-04-01/Accounts/x/Messages.json", 400, "21614", b'"code":21614'),
        ("sms", "/2010-04-01/Accounts/x/Messages.json", 429, "", b'"code":20429'),
        ("sms", "/2010-04-01/Accounts/x/Messages.json", 500, "", b'"code":20500'),
        ("email", "/v3/mail/send", 401, "", b"authorization grant is invalid"),
        ("sendgrid", "/v3/mail/send", 503, "come back", b'"message":"come back"'),
    ],
)
async def test_each_provider_has_its_own_words(
    sandbox: Sandbox,
    web: aiohttp.ClientSession,
    channel: str,
    path: str,
    status: int,
    told: str,
    expected: bytes,
) -> None:
    """A told status comes in the provider's own error body, by the channel's name or the provider's."""
    sandbox.rules.add(channel, Respond(status, told))
    url = getattr(sandbox.urls, {"sms": "twilio", "email": "sendgrid"}.get(channel, channel))
    async with web.post(url + path, data=b"{}", headers={"content-type": "application/json"}) as answer:
        assert answer.status == status
        assert expected in await answer.read()


def test_a_wrong_rule_is_refused() -> None:
    """A rule that could never be right is refused when it is made."""
    for wrong in (
        {"channel": "pigeon", "action": {"type": "hang"}},
        {"channel": "apns", "action": {"type": "explode"}},
        {"channel": "apns", "action": {"type": "hang"}, "count": 0},
        {"channel": "apns", "action": {"type": "hang"}, "delay_s": -1},
        {"channel": "apns", "action": {"type": "hang"}, "match": "exact"},
        {"channel": "apns", "action": {"type": "reset", "error": "OOPS"}},
        {"channel": "apns", "action": {"type": "respond", "status": 1}},
        {"channel": "apns", "action": {"type": "hang"}, "colour": "red"},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Rule)


def test_rules_are_bounded() -> None:
    """There is room for ten thousand rules and no more, and a list is taken whole or not at all."""
    rules = Rules()
    rule = Rule(channel="apns", action=Hang())
    rules.put_all([rule] * (RULES_MAX - 1))
    with pytest.raises(ValueError, match="no more than"):
        rules.put_all([rule] * 2)
    assert len(rules.list()) == RULES_MAX - 1
