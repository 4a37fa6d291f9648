"""What the providers post to us is believed, read, and about the message it is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from aiohttp import web

from gateways.feedback import check_sendgrid, check_twilio, sendgrid_events, twilio_reply, twilio_status
from gateways.port import Gateway
from tests.fixtures.notices import notice
from tests.fixtures.webserver import serving
from tests.integration.gateways.conftest import Providers, Send


class Inbox:
    """Our side of the webhooks: keeps what is posted."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[tuple[str, dict[str, str], bytes, dict[str, Any]]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.posts.append((str(request.url), {k.lower(): v for k, v in request.headers.items()}, body, form))
        return web.Response(status=204)


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox, app = Inbox(), web.Application()
    app.router.add_post("/{tail:.*}", inbox.take)
    async with serving(app) as inbox.url:
        yield inbox


async def test_an_sms_and_what_became_of_it(providers: Providers, inbox: Inbox) -> None:
    """From the send to the signed callback: the same message, the same person."""
    gateway: Gateway = providers.gateway("sms", status_callback_url=f"{inbox.url}/twilio")
    message, [phone] = uuid4(), await providers.targets("sms")
    await gateway.send(notice(message=message), [phone], deadline_s=5.0)
    [item], _ = await providers.books.messages(message_id=message.hex)
    await providers.sandbox.receipts.report(item.id, "delivered")
    [(url, headers, _, form)] = inbox.posts
    check_twilio(providers.sandbox.credentials.twilio_auth_token, url=url, form=form, headers=headers)
    query = dict(part.split("=", 1) for part in urlsplit(url).query.split("&"))
    [report] = twilio_status(query, form, received_at=datetime.now(UTC))
    assert report.receipt is not None
    assert (report.receipt.message, report.receipt.contact) == (message, phone.contact)
    assert (report.receipt.kind, report.address) == ("delivered", phone.address)
    await gateway.aclose()


async def test_a_person_answers_stop(providers: Providers, inbox: Inbox) -> None:
    """Signed, and read as STOP."""
    await providers.sandbox.receipts.reply("+15550009999", "Stop", url=f"{inbox.url}/replies")
    [(url, headers, _, form)] = inbox.posts
    check_twilio(providers.sandbox.credentials.twilio_auth_token, url=url, form=form, headers=headers)
    [report] = twilio_reply(form)
    assert (report.address, report.standing) == ("+15550009999", "suppress")
    await providers.sandbox.receipts.reply("+15550009999", "START", url=f"{inbox.url}/replies")


async def test_a_mail_and_what_became_of_it(providers: Providers, inbox: Inbox, send: Send) -> None:
    """One post with several events, signed over its bytes."""
    message, people = uuid4(), await providers.targets("sendgrid", 2)
    await send("sendgrid", people, message=message)
    items, _ = await providers.books.messages(message_id=message.hex)
    events = [(items[0], "delivered"), (items[0], "open"), (items[1], "bounce"), (items[1], "processed")]
    await providers.sandbox.receipts.report_mail(events, url=inbox.url)
    [(_, headers, body, _)] = inbox.posts
    key = providers.sandbox.sendgrid.events_public_key
    check_sendgrid(key, body=body, headers=headers, now=datetime.now(UTC))
    reports = sendgrid_events(body)
    assert [(report.code, report.standing) for report in reports] == [
        ("delivered", ""),
        ("open", ""),
        ("bounce", "suppress"),
    ]
    contact_of = {person.address: person.contact for person in people}
    for report in reports:
        assert report.receipt is not None
        assert report.receipt.message == message
        assert report.receipt.contact == contact_of[report.address]
        assert report.address not in report.receipt.detail
