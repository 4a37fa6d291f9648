"""What providers report later becomes facts of ours, and what is not theirs is not believed."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from domain.deliveries.delivery import Receipt
from domain.deliveries.outcome import Rejected, Suppressed
from gateways.feedback import (
    NotBelieved,
    Report,
    check_sendgrid,
    check_twilio,
    sendgrid_events,
    twilio_reply,
    twilio_status,
)

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
MESSAGE, CONTACT, CLIENT = uuid4(), uuid4(), uuid4()
IDS = {"realm": "main", "message_id": MESSAGE.hex, "contact": CONTACT.hex}


def status(said: str, code: str = "", **more: str) -> dict[str, str]:
    form = {"MessageSid": "SM1", "MessageStatus": said, "To": "+15550001111", "From": "+15550002222", **more}
    return {**form, "ErrorCode": code} if code else form


def receipt(channel: str, kind: Any, at: datetime, detail: str, client: UUID | None = None) -> Receipt:
    return Receipt("main", MESSAGE, channel, CONTACT, client, kind, at, detail)


@pytest.mark.parametrize("said", ["accepted", "queued", "sending", "sent", "scheduled", "", "nonsense"])
def test_on_its_way(said: str) -> None:
    """Says nothing that we need."""
    assert twilio_status(IDS, status(said), received_at=NOW) == []


@pytest.mark.parametrize("said", ["delivered", "read"])
def test_an_sms_that_arrived(said: str) -> None:
    """A receipt for the message and the person the callback's URL names."""
    [report] = twilio_status(IDS, status(said), received_at=NOW)
    assert report == Report(
        channel="sms",
        address="+15550001111",
        dedupe=f"twilio:SM1:{said}",
        realm="main",
        contact=CONTACT,
        provider_id="SM1",
        receipt=receipt("sms", said, NOW, said),
    )


@pytest.mark.parametrize(
    ("code", "standing"),
    [
        ("30003", "strike"),
        ("30005", "strike"),
        ("30006", "strike"),
        ("30007", ""),
        ("21610", "suppress"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("said", ["undelivered", "failed"])
def test_an_sms_that_did_not(said: str, code: str, standing: str) -> None:
    """Unreachable, unknown and landline count, and suppress when they repeat; an opt-out does so at once."""
    [report] = twilio_status(IDS, status(said, code), received_at=NOW)
    assert report.receipt == receipt("sms", "bounced", NOW, code or said)
    assert report.standing == standing
    wanted = Suppressed(code) if standing == "suppress" else Rejected(code or said)
    assert report.outcome == wanted


@pytest.mark.parametrize("ids", [{}, {"realm": "main"}, {**IDS, "message_id": "x"}, {**IDS, "realm": ""}])
def test_a_callback_without_our_ids(ids: dict[str, str]) -> None:
    """Is about a number, and no receipt."""
    [report] = twilio_status(ids, status("failed", "30003"), received_at=NOW)
    assert (report.receipt, report.standing) == (None, "strike")


@pytest.mark.parametrize(
    ("text", "code", "standing"),
    [
        ("STOP", "STOP", "suppress"),
        (" stop. ", "STOP", "suppress"),
        ("Unsubscribe", "STOP", "suppress"),
        ("START", "START", "restore"),
        ("unstop", "START", "restore"),
        ("help", "HELP", ""),
    ],
)
def test_what_people_answer(text: str, code: str, standing: str) -> None:
    """STOP, START and HELP, in the spellings carriers agree on."""
    [report] = twilio_reply({"From": "+15550001111", "Body": text, "MessageSid": "SM2"})
    assert (report.address, report.code, report.standing) == ("+15550001111", code, standing)


def test_twilios_own_reading_counts() -> None:
    """A word set up for the account, in any language, arrives as OptOutType."""
    [report] = twilio_reply({"From": "+1555", "Body": "ARRÊT", "OptOutType": "STOP", "MessageSid": "SM2"})
    assert report.standing == "suppress"


@pytest.mark.parametrize("text", ["please stop this", "stopping by later", "", "yes please"])
def test_what_is_no_keyword(text: str) -> None:
    """A sentence with the word in it changes nobody's standing."""
    assert twilio_reply({"From": "+1555", "Body": text}) == []


URL = "https://exchange.example/twilio?realm=main&message_id=1"


def test_twilios_signature() -> None:
    """Over the public URL and all parameters; one letter of either, and it is not believed."""
    form = status("delivered")
    signature = RequestValidator("token").compute_signature(URL, form)
    check_twilio("token", url=URL, form=form, headers={"x-twilio-signature": signature})
    wrong: list[tuple[str, str, dict[str, str], str]] = [
        ("other", URL, form, signature),
        ("token", URL + "2", form, signature),
        ("token", URL, {**form, "To": "+1"}, signature),
        ("token", URL, {**form, "Extra": "1"}, signature),
        ("token", URL, form, ""),
        ("token", URL, form, "x"),
    ]
    for token, url, parameters, said in wrong:
        with pytest.raises(NotBelieved):
            check_twilio(token, url=url, form=parameters, headers={"x-twilio-signature": said})


def event(name: str, **more: Any) -> dict[str, Any]:
    ids = {**IDS, "client": CLIENT.hex}
    base = {"event": name, "email": "a@example.org", "timestamp": int(NOW.timestamp()), "sg_event_id": "e1"}
    return {**base, "sg_message_id": "m1.filter-1", **ids, **more}


@pytest.mark.parametrize(
    ("name", "kind", "standing"),
    [
        ("delivered", "delivered", ""),
        ("open", "read", ""),
        ("click", "clicked", ""),
        ("bounce", "bounced", "suppress"),
        ("dropped", "bounced", "suppress"),
        ("spamreport", "unsubscribed", "suppress"),
        ("unsubscribe", "unsubscribed", "suppress"),
        ("group_unsubscribe", "unsubscribed", "suppress"),
    ],
)
def test_what_became_of_a_mail(name: str, kind: str, standing: str) -> None:
    """Bounce, dropped, spam report and unsubscribe suppress; each is a receipt at the event's own time."""
    [report] = sendgrid_events(json.dumps([event(name)]).encode())
    assert report.receipt == receipt("email", kind, NOW, name, CLIENT)
    assert (report.address, report.provider_id, report.dedupe) == ("a@example.org", "m1", "sendgrid:e1")
    assert (report.standing, report.at) == (standing, NOW)
    assert (report.outcome is not None) == (kind == "bounced")


@pytest.mark.parametrize("name", ["processed", "deferred", "something_new"])
def test_what_is_still_under_way(name: str) -> None:
    """`deferred`: SendGrid goes on trying, we wait."""
    assert sendgrid_events(json.dumps([event(name)]).encode()) == []


def test_a_blocked_mail_suppresses_nobody() -> None:
    """The receiving server refused this message, not the person."""
    [report] = sendgrid_events(json.dumps([event("bounce", type="blocked", reason="550 spam")]).encode())
    assert (report.standing, report.outcome) == ("", Rejected("bounce", detail="550 spam"))


def test_a_reason_names_nobody() -> None:
    """Receipts are kept for ever."""
    reason = "550 5.1.1 <a@example.org>: no a@example.org here, try +4915112345678"
    [report] = sendgrid_events(json.dumps([event("bounce", reason=reason)]).encode())
    said = "550 5.1.1 <…>: no … here, try …"
    assert report.receipt is not None
    assert (report.receipt.detail, report.outcome) == (said, Suppressed("bounce", said))


def test_who_wants_it_again() -> None:
    """Resubscribing restores, without a receipt."""
    [report] = sendgrid_events(json.dumps([event("group_resubscribe")]).encode())
    assert (report.standing, report.receipt) == ("restore", None)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*event("open"), "x", "type", "reason"]), inner, max_size=6)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_survived(body: Any) -> None:
    """Reports or a plain refusal; never anything else."""
    try:
        reports = sendgrid_events(json.dumps(body).encode())
    except ValueError:
        return
    assert all(isinstance(report, Report) for report in reports)


@pytest.mark.parametrize("said", [2**40, 10**400, -1, 0, "soon", None, True, 1.5e300])
def test_an_event_at_no_time(said: Any) -> None:
    """Is one all the same; its receipt says 1970."""
    [report] = sendgrid_events(json.dumps([event("open", timestamp=said)]).encode())
    assert report.receipt is not None
    assert report.receipt.at == datetime.fromtimestamp(0, UTC)
    assert report.at is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[", b"\xff", b"[" * 60_000, json.dumps([event("open")] * 5_001).encode()]
)
def test_what_is_no_list_of_events(body: bytes) -> None:
    """Refused as a whole."""
    with pytest.raises(ValueError, match=r".+"):
        sendgrid_events(body)


def test_sendgrids_signature() -> None:
    """Over timestamp and raw body, within five minutes; anything else is not believed."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = base64.b64encode(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    body, now = json.dumps([event("open")]).encode() + b"\r\n", datetime.now(UTC)
    stamp = str(int(time.time()))
    signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    names = ("x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp")
    headers = dict(zip(names, (signature, stamp), strict=True))
    check_sendgrid(public, body=body, headers=headers, now=now)
    for late in (timedelta(minutes=6), -timedelta(minutes=6)):
        with pytest.raises(NotBelieved):
            check_sendgrid(public, body=body, headers=headers, now=now + late)
    for wrong in ({}, {names[1]: stamp}, {**headers, names[0]: "AAAA"}, {**headers, names[0]: "not base64!"}):
        with pytest.raises(NotBelieved):
            check_sendgrid(public, body=body, headers=wrong, now=now)
    for other in (body + b" ", body.strip(), b"\xff"):
        with pytest.raises(NotBelieved):
            check_sendgrid(public, body=other, headers=headers, now=now)
    with pytest.raises(NotBelieved):
        check_sendgrid(public, body=body, headers={**headers, names[1]: str(int(stamp) + 1)}, now=now)
