"""What providers post to us: believed by their signatures alone, stored once, and about the right person."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from api.providers.routes import EVENTS_PATH, REPLIES_PATH, STATUS_PATH
from domain.deliveries.delivery import Receipt
from domain.recorded import DELIVERY
from tests.memory.site import EVENTS_KEY, PUBLIC_URL, TWILIO_TOKEN, Site, site
from tests.memory.world import IDS, REALM

SAID_S = 1_700_000_000
"""When what is reported happened: long ago."""
PHONE, MAILBOX = "+34600000001", "Ann@example.org"
FORM = {"content-type": "application/x-www-form-urlencoded"}
MESSAGE = UUID("0bb12456-35e6-8422-bf9e-40c8184523d3")
ANN = IDS.contact(REALM, "ann")
OURS = {"realm": REALM, "message_id": MESSAGE.hex, "contact": ANN.hex}


async def with_ann(it: Site) -> None:
    await it.admin("PUT", "/api/v2/contacts/ann", {"cell": PHONE, "email": MAILBOX})


async def suppressed(it: Site, uid: str = "ann") -> dict[str, str]:
    found: dict[str, str] = (await it.admin("GET", f"/api/v2/contacts/{uid}"))["suppressed"]
    return found


def receipts(it: Site) -> list[Receipt]:
    """What is on the log."""
    log = it.world.own.log
    facts = [log.unpack(DELIVERY, stored) for stored in it.world.streams.messages[DELIVERY]]
    return [fact.body for fact in facts if isinstance(fact.body, Receipt)]


def sms_signature(url: str, form: Mapping[str, str]) -> str:
    words = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.digest(TWILIO_TOKEN.encode(), words.encode(), hashlib.sha1)).decode()


async def twilio(
    it: Site,
    path: str,
    form: Mapping[str, str],
    query: Mapping[str, str] | None = None,
    *,
    signed_as: str = "",
) -> httpx.Response:
    """signed_as: another address than the one that is called."""
    target = f"{path}?{urlencode(query)}" if query else path
    signature = sms_signature(signed_as or PUBLIC_URL + target, form)
    headers = {**FORM, "x-twilio-signature": signature}
    return await it.call("POST", target, urlencode(form).encode(), by=None, headers=headers)


async def sendgrid(
    it: Site, *events: Mapping[str, Any], age_s: int = 0, tamper: bytes = b""
) -> httpx.Response:
    body = msgspec.json.encode([{"email": MAILBOX, "timestamp": SAID_S, **OURS, **e} for e in events])
    timestamp = str(int(it.parts.clock().timestamp()) - age_s)
    signature = EVENTS_KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "x-twilio-email-event-webhook-timestamp": timestamp,
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
    }
    return await it.call("POST", EVENTS_PATH, body + tamper, by=None, headers=headers)


def status(name: str, sid: str = "SM1", **more: str) -> dict[str, str]:
    return {"MessageSid": sid, "MessageStatus": name, "To": PHONE, **more}


def reply(text: str, sid: str = "SM9", cell: str = PHONE) -> dict[str, str]:
    return {"MessageSid": sid, "From": cell, "To": "+15005550006", "Body": text}


async def test_a_delivered_sms_is_a_receipt_on_the_log() -> None:
    """Of that message and that contact; told twice, it is stored once."""
    async with site() as it:
        await with_ann(it)
        for _ in range(2):
            answer = await twilio(it, STATUS_PATH, status("delivered"), OURS)
            assert (answer.status_code, answer.content) == (200, b"<Response/>")
        [receipt] = receipts(it)
        assert (receipt.message, receipt.contact, receipt.channel) == (MESSAGE, ANN, "sms")
        assert receipt.kind == "delivered"


async def test_only_what_twilio_signed_is_believed() -> None:
    """Another query (whose message it is), another form, no signature: 403, and nothing is stored."""
    async with site() as it:
        await with_ann(it)
        url = f"{PUBLIC_URL}{STATUS_PATH}?{urlencode(OURS)}"
        other = {**OURS, "contact": IDS.contact(REALM, "bob").hex}
        wrong = [
            await twilio(it, STATUS_PATH, status("delivered"), other, signed_as=url),
            await twilio(
                it, STATUS_PATH, status("delivered"), OURS, signed_as=f"https://evil.example{STATUS_PATH}"
            ),
            await it.call("POST", STATUS_PATH, b"MessageStatus=delivered", by=None, headers=FORM),
            await it.call("POST", REPLIES_PATH, urlencode(reply("STOP")).encode(), by=None, headers=FORM),
        ]
        assert [answer.status_code for answer in wrong] == [403] * 4
        assert receipts(it) == []
        assert await suppressed(it) == {}


async def test_stop_and_start_reach_everyone_with_that_phone() -> None:
    """The number is all that is known: its present owners are found by its digest, a former one is left alone."""
    async with site() as it:
        await with_ann(it)
        await it.admin("PUT", "/api/v2/contacts/ben", {"cell": PHONE})
        await it.admin("PUT", "/api/v2/contacts/eve", {"cell": PHONE})
        await it.admin("PUT", "/api/v2/contacts/eve", {"cell": "+34600000002"})
        await it.settled()
        assert (await twilio(it, REPLIES_PATH, reply(" stop. "))).status_code == 200
        await it.settled()
        found = [await suppressed(it, uid) for uid in ("ann", "ben", "eve")]
        assert found == [{"sms": "STOP"}, {"sms": "STOP"}, {}]
        await twilio(it, REPLIES_PATH, reply("HELP", "SM10"))
        await twilio(it, REPLIES_PATH, reply("START", "SM11"))
        await it.settled()
        assert [await suppressed(it, uid) for uid in ("ann", "ben")] == [{}, {}]


async def test_a_reply_concerns_the_realms_its_address_names() -> None:
    """?realm= in the address that stands in Twilio's console; a realm that isn't named is not touched."""
    async with site() as it:
        await with_ann(it)
        await it.settled()
        await twilio(it, REPLIES_PATH, reply("STOP"), {"realm": "elsewhere"})
        await it.settled()
        assert await suppressed(it) == {}


async def test_an_unreachable_phone_is_suppressed_in_the_end() -> None:
    """Three messages that did not arrive, each counted once however often it is told."""
    async with site() as it:
        await with_ann(it)
        for name, sid in (("undelivered", "SM1"), ("failed", "SM1"), ("undelivered", "SM2")):
            await twilio(it, STATUS_PATH, status(name, sid, ErrorCode="30003"), OURS)
        await it.settled()
        assert await suppressed(it) == {}
        await twilio(it, STATUS_PATH, status("undelivered", "SM3", ErrorCode="30003"), OURS)
        await it.settled()
        assert await suppressed(it) == {"sms": "30003"}


async def test_mail_events_become_receipts_and_suppressions() -> None:
    """One post, many events, a repeat among them; a bounce of another mailbox than the present one stops nothing."""
    async with site() as it:
        await with_ann(it)
        delivered = {"event": "delivered", "sg_event_id": "e1"}
        old = {"event": "bounce", "sg_event_id": "e2", "email": "former@example.org"}
        assert (await sendgrid(it, delivered, delivered, old)).status_code == 200
        await it.settled()
        assert [receipt.kind for receipt in receipts(it)] == ["delivered", "bounced"]
        assert await suppressed(it) == {}
        # Mailboxes come back in other letters.
        await sendgrid(it, {"event": "bounce", "sg_event_id": "e3", "email": MAILBOX.lower()})
        await it.settled()
        assert await suppressed(it) == {"email": "bounce"}
        await sendgrid(it, {"event": "group_resubscribe", "sg_event_id": "e4", "timestamp": SAID_S + 1})
        await it.settled()
        assert await suppressed(it) == {}
        complaint = {"event": "spamreport", "sg_event_id": "e5", "timestamp": SAID_S + 2}
        await sendgrid(it, {**complaint, "email": "former@example.org"})
        await it.settled()
        assert await suppressed(it) == {"email": "spamreport"}


async def test_an_old_report_undoes_no_newer_one() -> None:
    """SendGrid posts in any order, and again for a day: what the person said last holds."""
    async with site() as it:
        await with_ann(it)
        stop = {"event": "unsubscribe", "sg_event_id": "e1", "timestamp": SAID_S + 20}
        start = {"event": "group_resubscribe", "sg_event_id": "e2", "timestamp": SAID_S + 10}
        await sendgrid(it, stop)
        await sendgrid(it, start)
        await it.settled()
        assert await suppressed(it) == {"email": "unsubscribe"}
        await sendgrid(it, {**start, "sg_event_id": "e3", "timestamp": SAID_S + 30})
        await sendgrid(it, {**stop, "sg_event_id": "e4", "timestamp": SAID_S + 25})
        await it.settled()
        assert await suppressed(it) == {}


async def test_only_what_sendgrid_signed_now_is_believed() -> None:
    """A byte more, a time outside the window, no signature, no list."""
    async with site() as it:
        event = {"event": "delivered", "sg_event_id": "e1"}
        assert (await sendgrid(it, event, tamper=b" ")).status_code == 403
        assert (await sendgrid(it, event, age_s=301)).status_code == 403
        assert (await sendgrid(it, event, age_s=-301)).status_code == 403
        assert (await it.call("POST", EVENTS_PATH, b"[]", by=None)).status_code == 403
        assert receipts(it) == []
        assert (await sendgrid(it, event, age_s=299)).status_code == 200


@pytest.mark.parametrize("said", ["\xb2", "9" * 5_000, "1" * 19, "", "-1", "1e9", "soon"])
async def test_a_time_of_signing_that_is_none_is_not_believed(said: str) -> None:
    """Whoever posts: refused, as any other signature that is not SendGrid's."""
    async with site() as it:
        names = ("x-twilio-email-event-webhook-timestamp", "x-twilio-email-event-webhook-signature")
        headers = [
            (name.encode(), text.encode("latin-1")) for name, text in zip(names, (said, "\xb2"), strict=True)
        ]
        answer = await it.client.request("POST", EVENTS_PATH, content=b"[]", headers=headers)
        assert answer.status_code == 403


async def test_an_address_with_more_parameters_than_anybody_needs_is_refused() -> None:
    """Signed or not."""
    async with site() as it:
        query = {f"n{n}": "1" for n in range(300)}
        assert (await twilio(it, STATUS_PATH, status("delivered"), query)).status_code == 422


async def test_a_large_post_is_taken() -> None:
    """SendGrid posts more at a time than any caller of ours may."""
    async with site() as it:
        events = [{"event": "processed", "sg_event_id": str(n), "reason": "x" * 1000} for n in range(400)]
        assert (await sendgrid(it, *events)).status_code == 200
