"""What providers report later, as facts of ours: Twilio's status callbacks and replies, SendGrid's event webhook.

Pure: a request's parts in, `Report`s out; whether it may be believed is checked here too, by each provider's own
signature. What a report leads to (a receipt, a suppression, a counted strike) is done elsewhere.
Sources: twilio.com/docs, "Track the message status" and "Webhook security"; SendGrid, "Event Webhook reference".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.deliveries import channel
from domain.deliveries.delivery import Receipt, ReceiptKind
from domain.deliveries.outcome import Outcome, Rejected, Suppressed
from domain.text.number import moment, whole_number
from gateways.verdict import at, impersonal, said

EVENTS_MAX = 5_000
"""In one post of SendGrid's; it batches up to about a thousand."""
WINDOW_S = 300
"""A signed post older (or newer) than this is a replay."""
STRIKES = frozenset({"30003", "30005", "30006"})
"""Unreachable, unknown or landline: once may be chance."""

Standing = Literal["", "strike", "suppress", "restore"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about one person.

    receipt: of which message, None when it is about none (a reply to an SMS). contact: whose it is in the realm, None
    when no id of ours came back. address: phone or mailbox it is about. at: when it happened, None where the provider
    does not say. outcome: what the send came to after all, when that is now final. standing: strike, to be counted and
    suppressed when it repeats; suppress, at once; restore, the person wants it again. provider_id: the provider's name
    for the message. dedupe: equal for the same fact told twice.
    """

    channel: str
    address: str
    dedupe: str
    realm: str = ""
    contact: UUID | None = None
    provider_id: str = ""
    at: datetime | None = None
    code: str = ""
    receipt: Receipt | None = None
    outcome: Outcome | None = None
    standing: Standing = ""


class NotBelieved(ValueError):
    """The signature, or its time, is not the provider's."""


# Twilio


def check_twilio(auth_token: str, *, url: str, form: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """url: the public one Twilio posted to, query included. form: every parameter. Raises NotBelieved."""
    from twilio.request_validator import RequestValidator

    if not RequestValidator(auth_token).validate(url, dict(form), headers.get("x-twilio-signature", "")):
        raise NotBelieved("X-Twilio-Signature does not fit")


def twilio_status(
    query: Mapping[str, str], form: Mapping[str, str], *, received_at: datetime
) -> list[Report]:
    """A status callback. query: of the callback's URL, where we put whose message it is about."""
    status = form.get("MessageStatus") or form.get("SmsStatus") or ""
    code, sid = form.get("ErrorCode") or "", form.get("MessageSid") or form.get("SmsSid") or ""
    kind: ReceiptKind
    match status:
        case "delivered":
            kind = "delivered"
        case "read":
            kind = "read"
        case "undelivered" | "failed":
            kind = "bounced"
        case _:
            return []  # queued, sending, sent: on its way
    failed = kind == "bounced"
    standing: Standing = (
        "" if not failed else "suppress" if code == "21610" else "strike" if code in STRIKES else ""
    )
    return [
        Report(
            channel=channel.SMS,
            address=form.get("To", ""),
            dedupe=f"twilio:{sid}:{status}",
            realm=query.get("realm", ""),
            contact=_uuid(query.get("contact")),
            provider_id=sid,
            code=code,
            receipt=_receipt(channel.SMS, query, kind, received_at, code or status),
            outcome=_failure(code or status, standing) if failed else None,
            standing=standing,
        )
    ]


STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START = frozenset({"START", "YES", "UNSTOP"})
HELP = frozenset({"HELP", "INFO"})


def twilio_reply(form: Mapping[str, str]) -> list[Report]:
    """A message from a phone. STOP and START change a person's standing (Twilio itself already obeys them), HELP and
    anything else changes nothing; OptOutType is Twilio's own reading and counts for more than ours.
    """
    word = (form.get("OptOutType") or form.get("Body") or "").strip().upper().rstrip(".!")
    standing: Standing = "suppress" if word in STOP else "restore" if word in START else ""
    code = (
        "HELP"
        if word in HELP
        else "STOP"
        if standing == "suppress"
        else "START"
        if standing == "restore"
        else ""
    )
    sid, address = form.get("MessageSid") or form.get("SmsSid") or "", form.get("From", "")
    if not (code and address):
        return []
    return [
        Report(
            channel=channel.SMS,
            address=address,
            dedupe=f"twilio:{sid}:reply",
            provider_id=sid,
            code=code,
            standing=standing,
        )
    ]


# SendGrid


def check_sendgrid(public_key: str, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
    """public_key: as SendGrid's console shows it. body: raw, byte for byte. Raises NotBelieved."""
    from sendgrid.helpers.eventwebhook import EventWebhook

    signature = headers.get("x-twilio-email-event-webhook-signature", "")
    timestamp = headers.get("x-twilio-email-event-webhook-timestamp", "")
    signed_at_s = whole_number(timestamp)
    if signed_at_s is None or abs(now.timestamp() - signed_at_s) > WINDOW_S:
        raise NotBelieved("the signature's time is not now")
    try:
        fits = EventWebhook(public_key).verify_signature(body.decode(), signature, timestamp)
    except ValueError:  # no UTF-8, no base64
        fits = False
    if not fits:
        raise NotBelieved("the signature does not fit")


def sendgrid_events(body: bytes) -> list[Report]:
    """The events of one post, those that say nothing of interest left out. Raises ValueError when it is no list."""
    try:
        events = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON of a sensible depth: {error}") from None
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise ValueError("no list of events")
    return [report for event in events if (report := _sendgrid_event(event)) is not None]


_KIND_OF: dict[str, ReceiptKind] = {
    "delivered": "delivered",
    "open": "read",
    "click": "clicked",
    "bounce": "bounced",
    "dropped": "bounced",
    "spamreport": "unsubscribed",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
}
_SUPPRESSING = frozenset({"bounce", "dropped", "spamreport", "unsubscribe", "group_unsubscribe"})


def _sendgrid_event(event: Any) -> Report | None:
    """`processed` and `deferred` are left out: SendGrid goes on by itself. A bounce of type `blocked` suppresses
    nobody: the server refused the message, not the person.
    """
    name = at(event, "event")
    if not isinstance(event, dict) or not isinstance(name, str):
        return None
    kind, resubscribed = _KIND_OF.get(name), name == "group_resubscribe"
    if kind is None and not resubscribed:
        return None
    standing: Standing = "restore" if resubscribed else "suppress" if name in _SUPPRESSING else ""
    if name == "bounce" and event.get("type") == "blocked":
        standing = ""
    code, reason = (
        said(event, "status") or said(event, "type") or name,
        impersonal(said(event, "reason"), said(event, "email")),
    )
    return Report(
        channel=channel.EMAIL,
        address=said(event, "email"),
        dedupe=f"sendgrid:{said(event, 'sg_event_id')}",
        realm=said(event, "realm"),
        contact=_uuid(event.get("contact")),
        provider_id=said(event, "sg_message_id").partition(".")[0],
        at=moment(event.get("timestamp")),
        code=name,
        receipt=None if kind is None else _receipt(channel.EMAIL, event, kind, _time(event), reason or code),
        outcome=_failure(name, standing, reason) if kind == "bounced" else None,
        standing=standing,
    )


def _failure(code: str, standing: Standing, detail: str = "") -> Outcome:
    return Suppressed(code, detail) if standing == "suppress" else Rejected(code, detail=detail)


def _time(event: Mapping[str, Any]) -> datetime:
    return moment(event.get("timestamp")) or datetime.fromtimestamp(0, UTC)


def _receipt(
    name: str, ids: Mapping[str, Any], kind: ReceiptKind, when: datetime, detail: str
) -> Receipt | None:
    """Ours only when all of our ids came back whole."""
    message = _uuid(ids.get("message_id"))
    realm = ids.get("realm")
    if message is None or not isinstance(realm, str) or not realm:
        return None
    return Receipt(
        realm=realm,
        message=message,
        channel=name,
        contact=_uuid(ids.get("contact")),
        client=_uuid(ids.get("client")),
        kind=kind,
        at=when,
        detail=detail,
    )


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(hex=text) if isinstance(text, str) else None
    except ValueError:
        return None
