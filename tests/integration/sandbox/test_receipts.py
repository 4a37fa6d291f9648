from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import msgspec
import pytest
from aiohttp import web as server
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

from infra.sandbox import Sandbox
from infra.sandbox.providers.receipts import CannotReport
from tests.fixtures.webserver import serving
from tests.integration.sandbox.test_sendgrid import Sender, mail
from tests.integration.sandbox.test_twilio import CELL, Account


@dataclass
class Exchange:
    """Takes webhooks as the exchange would, and keeps them."""

    url: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204

    async def take(self, request: server.Request) -> server.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((str(request.url), headers, await request.read()))
        return server.Response(status=self.status, headers={"location": "/elsewhere"})


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    taker = Exchange()
    app = server.Application()
    app.router.add_post("/{any:.*}", taker.take)
    async with serving(app) as taker.url:
        yield taker


async def test_an_sms_reports_with_twilios_signature(
    sandbox: Sandbox, web: aiohttp.ClientSession, exchange: Exchange
) -> None:
    """A status callback goes to the message's own address, and Twilio's library accepts its signature."""
    account = Account(sandbox, web)
    callback = f"{exchange.url}/hooks/twilio?realm=main&message_id=m-1"
    _, made = await account.send(StatusCallback=callback)
    assert await sandbox.receipts.report(1, "undelivered", error_code=30_003) == 204
    ((url, headers, body),) = exchange.got
    form = dict(pair.split("=") for pair in body.decode().split("&"))
    form = {name: value.replace("%2B", "+") for name, value in form.items()}
    assert url == callback
    assert (form["MessageSid"], form["MessageStatus"], form["ErrorCode"]) == (
        made["sid"],
        "undelivered",
        "30003",
    )
    validator = RequestValidator(sandbox.credentials.twilio_auth_token)
    assert validator.validate(callback, form, headers["x-twilio-signature"])
    assert not validator.validate(callback, {**form, "MessageStatus": "read"}, headers["x-twilio-signature"])


async def test_a_mail_reports_with_sendgrids_signature(
    sandbox: Sandbox, web: aiohttp.ClientSession, exchange: Exchange
) -> None:
    """An event carries the mail's own arguments, and SendGrid's library accepts its signature."""
    await Sender(sandbox, web).send(mail("a@example.org"))
    sandbox.receipts.sendgrid_url = f"{exchange.url}/hooks/sendgrid"
    assert await sandbox.receipts.report(1, "bounce") == 204
    ((_, headers, body),) = exchange.got
    (event,) = msgspec.json.decode(body)
    assert (event["email"], event["event"], event["message_id"]) == ("a@example.org", "bounce", "m-1")
    key = sandbox.sendgrid.events_public_key
    assert load_der_public_key(base64.b64decode(key))
    signature = headers["x-twilio-email-event-webhook-signature"]
    timestamp = headers["x-twilio-email-event-webhook-timestamp"]
    hook = EventWebhook()
    public = hook.convert_public_key_to_ecdsa(key)
    assert hook.verify_signature(body.decode(), signature, timestamp, public)
    assert not hook.verify_signature(body.decode() + " ", signature, timestamp, public)


async def test_a_stop_is_posted_and_kept(
    sandbox: Sandbox, web: aiohttp.ClientSession, exchange: Exchange
) -> None:
    """A reply of STOP is told to the exchange, and the number is refused from then on."""
    sandbox.receipts.replies_url = f"{exchange.url}/hooks/replies"
    assert await sandbox.receipts.reply(CELL, " stop ") == 204
    ((_, headers, body),) = exchange.got
    assert b"OptOutType=STOP" in body
    assert headers["x-twilio-signature"]
    account = Account(sandbox, web)
    assert (await account.send())[1]["code"] == 21610
    await sandbox.receipts.reply(CELL, "Start")
    assert (await account.send())[0] == 201


async def test_only_this_machine_is_posted_to(
    sandbox: Sandbox, web: aiohttp.ClientSession, exchange: Exchange
) -> None:
    """Another host is never posted to, and a redirect never followed."""
    account = Account(sandbox, web)
    await account.send(StatusCallback="https://exchange.example.org/hooks")
    with pytest.raises(CannotReport, match="this machine only"):
        await sandbox.receipts.report(1, "delivered")
    exchange.status = 302
    assert await sandbox.receipts.report(1, "delivered", url=f"{exchange.url}/hooks") == 302
    assert len(exchange.got) == 1


async def test_what_cannot_be_reported(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    """A message that is not there, an unknown event, nowhere to post and nobody there are told apart."""
    account = Account(sandbox, web)
    await account.send()
    for number, event, url, words in (
        (9, "delivered", "", "no message 9"),
        (1, "eaten", "", "Twilio knows"),
        (1, "delivered", "", "no address"),
        (1, "delivered", "http://127.0.0.1:1/x", "nobody takes it"),
    ):
        with pytest.raises(CannotReport, match=words):
            await sandbox.receipts.report(number, event, url=url)
