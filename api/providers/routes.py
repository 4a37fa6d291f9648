"""The addresses that providers post to: Twilio's status callbacks and replies, SendGrid's event webhook.

No token: each request is believed by the provider's signature, or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from api.providers.effects import take
from api.route import Answer, Call, Raw, Route, Who
from domain.context import DEFAULT_REALM, Context
from domain.errors import Forbidden, Invalid, NotFound, TooLarge, Unavailable
from gateways.feedback import (
    NotBelieved,
    Report,
    check_sendgrid,
    check_twilio,
    sendgrid_events,
    twilio_reply,
    twilio_status,
)

STATUS_PATH = "/api/v2/providers/twilio/status"
REPLIES_PATH = "/api/v2/providers/twilio/replies"
EVENTS_PATH = "/api/v2/providers/sendgrid/events"

FORM_BYTES_MAX = 64 * 1024
EVENTS_BYTES_MAX = 4 * 1024 * 1024
"""SendGrid posts some hundred kilobytes at a time; a batch that is refused is lost after a day of repeats."""
FIELDS_MAX = 200
REALMS_MAX = 20

NOTHING_TO_SAY = Answer(b"<Response/>", media_type="text/xml")
"""TwiML: no message goes back; Twilio itself answers STOP, START and HELP."""


async def take_status(call: Call[None, None]) -> Answer:
    """What became of an SMS. Whose it is stands in the query, which Twilio signs."""
    query, form = _believed_form(call, STATUS_PATH)
    await _take(call, "twilio", twilio_status(dict(query), form, received_at=call.parts.clock()))
    return NOTHING_TO_SAY


async def take_reply(call: Call[None, None]) -> Answer:
    """A message from a phone. ?realm= (repeatable) says whose people write to this number; else the main realm's."""
    query, form = _believed_form(call, REPLIES_PATH)
    realms = [value for name, value in query if name == "realm"][:REALMS_MAX] or [DEFAULT_REALM]
    await _take(call, "twilio", twilio_reply(form), realms=realms)
    return NOTHING_TO_SAY


async def take_events(call: Call[None, None]) -> Answer:
    """What became of mails, many at a time."""
    raw, key = _raw(call), call.parts.providers.sendgrid_key
    if not key:
        raise NotFound("no SendGrid account reports to this exchange")
    try:
        check_sendgrid(key, body=raw.body, headers=raw.headers, now=call.parts.clock())
    except NotBelieved as error:
        raise Forbidden(str(error)) from None
    try:
        reports = sendgrid_events(raw.body)
    except ValueError as error:
        raise Invalid(str(error), field="body") from None
    await _take(call, "sendgrid", reports)
    return Answer()


def _believed_form(call: Call[Any, Any], path: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The request's query and its form. Raises Forbidden unless Twilio signed both address and form."""
    raw, providers = _raw(call), call.parts.providers
    if not providers.twilio_auth_token:
        raise NotFound("no Twilio account reports to this exchange")
    try:
        pairs = parse_qsl(raw.body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
        asked = parse_qsl(raw.query, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Invalid(f"body and query are forms of at most {FIELDS_MAX} fields", field="body") from None
    form, query = dict(pairs), f"?{raw.query}" if raw.query else ""
    try:
        check_twilio(
            providers.twilio_auth_token,
            url=f"{providers.public_url.rstrip('/')}{path}{query}",
            form=form,
            headers=raw.headers,
        )
    except NotBelieved as error:
        raise Forbidden(f"{error}; it covers MSGXC_PUBLIC_URL") from None
    return asked, form


def _raw(call: Call[Any, Any]) -> Raw:
    assert call.raw is not None
    return call.raw


async def _take(
    call: Call[Any, Any], provider: str, reports: Sequence[Report], *, realms: Sequence[str] = ()
) -> None:
    context = Context(realm=DEFAULT_REALM, actor=provider, correlation=call.context.correlation)
    await take(call.parts, reports, realms=realms, context=context)


def _route(path: str, handler: Any, summary: str, *, bytes_max: int, answer: Any, media_type: str) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        who=Who.PROVIDER,
        summary=summary,
        group="providers",
        answer=answer,
        media_type=media_type,
        raw_bytes_max=bytes_max,
        errors=(Invalid, Forbidden, NotFound, TooLarge, Unavailable),
    )


ROUTES = (
    _route(
        STATUS_PATH,
        take_status,
        "Twilio's status callback: what became of an SMS.",
        bytes_max=FORM_BYTES_MAX,
        answer=str,
        media_type="text/xml",
    ),
    _route(
        REPLIES_PATH,
        take_reply,
        "A message from a phone to the sender's number: STOP, START, HELP.",
        bytes_max=FORM_BYTES_MAX,
        answer=str,
        media_type="text/xml",
    ),
    _route(
        EVENTS_PATH,
        take_events,
        "SendGrid's event webhook: what became of mails.",
        bytes_max=EVENTS_BYTES_MAX,
        answer=bool,
        media_type="application/json",
    ),
)
