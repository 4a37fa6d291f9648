"""SendGrid's v3 mail send, with its checks, and the mailboxes behind it.

Owns POST /v3/mail/send (docs.sendgrid.com, "Mail Send") and the signature of its event webhook. The exchange's
message id travels in custom_args: {"message_id": "..."}, of the request or of one personalization.
"""

from __future__ import annotations

import base64
import hmac
import html
import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.sandbox.books import Entry
from infra.sandbox.desk import Answer, Request, Verdict
from infra.sandbox.json_body import decoded, mapping

PERSONALIZATIONS_MAX = 1_000
RECIPIENTS_MAX = 1_000
BODY_BYTES_MAX = 30 * 1024 * 1024
CUSTOM_ARGS_BYTES_MAX = 10_000
BOOKED_BODY_CHARACTERS = 20_000
"""Of a mail's text, per recipient: a thousand copies of a newsletter would only fill the disk."""

ADDRESS = re.compile(r"[^@\s<>,;\"\x00-\x1f]{1,64}@[A-Za-z0-9.\-]{1,250}\.?[A-Za-z0-9\-]+")
JSON = (("content-type", "application/json"),)
HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"


class Refusal(Exception):
    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field


class SendGrid:
    """events_key: signs the event webhook, as its "signed event webhook" setting does."""

    name = "sendgrid"
    names: tuple[str, ...] = ("email", "sendgrid")
    body_bytes_max = BODY_BYTES_MAX

    def __init__(
        self,
        *,
        api_key: str,
        events_key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api_key, self._events_key, self._clock = api_key, events_key, clock

    @property
    def events_public_key(self) -> str:
        """As the console shows it: base64 of the DER."""
        der = self._events_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def judge(self, request: Request) -> Verdict:
        number = secrets.token_urlsafe(16)
        mail = decoded(request.body)
        entries = tuple(_entries(mail, number)) if mail else ()
        addresses = tuple(entry.address for entry in entries)
        try:
            self._check(request, mail)
        except Refusal as refused:
            return Verdict(_error(refused), entries, addresses)
        dry_run = mapping(mapping(mail.get("mail_settings")).get("sandbox_mode")).get("enable") is True
        answer = Answer(200 if dry_run else 202, b"", (("x-message-id", number),))
        return Verdict(answer, entries, addresses, dry_run=dry_run)

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        answer = _error(Refusal(status, reason or _WORDS_OF_STATUS.get(status, "internal error")))
        if status == 429:
            reset_at = str(int(self._clock()) + 1)
            limits = (
                ("x-ratelimit-limit", "600"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", reset_at),
            )
            return msgspec.structs.replace(answer, headers=(*answer.headers, *limits))
        return answer

    def signature(self, timestamp: str, body: bytes) -> str:
        """X-Twilio-Email-Event-Webhook-Signature: ECDSA over timestamp and raw body."""
        made = self._events_key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(made).decode()

    def _check(self, request: Request, mail: dict[str, Any]) -> None:
        if request.path != "/v3/mail/send":
            raise Refusal(404, "not found")
        if request.method != "POST":
            raise Refusal(405, "method not allowed")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise Refusal(401, "The provided authorization grant is invalid, expired, or revoked")
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refusal(415, "Content-Type should be application/json.")
        if request.body_bytes > BODY_BYTES_MAX:
            raise Refusal(413, "The JSON payload you have included in your request is too large.")
        if not mail:
            raise Refusal(400, "Bad Request")
        _check_mail(mail)


def _check_mail(mail: dict[str, Any]) -> None:
    personalizations = mail.get("personalizations")
    if not isinstance(personalizations, list) or not personalizations:
        raise Refusal(
            400,
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
    if len(personalizations) > PERSONALIZATIONS_MAX:
        raise Refusal(400, "The personalizations may not contain more than 1000 objects.", "personalizations")
    _check_address(mail.get("from"), "from")
    seen: set[str] = set()
    for number, personalization in enumerate(personalizations):
        _check_personalization(mapping(personalization), f"personalizations.{number}", mail, seen)
    if len(seen) > RECIPIENTS_MAX:
        raise Refusal(400, "Too many recipients; the limit is 1000.", "personalizations")
    _check_content(mail)
    _check_headers(mail.get("headers"), "headers")
    _check_custom_args(mail.get("custom_args"), "custom_args")


def _check_personalization(given: dict[str, Any], field: str, mail: dict[str, Any], seen: set[str]) -> None:
    if not given.get("to"):
        raise Refusal(400, "The to array is required for all personalization objects.", f"{field}.to")
    within: set[str] = set()
    for kind in ("to", "cc", "bcc"):
        listed = given.get(kind, [])
        if not isinstance(listed, list):
            raise Refusal(400, f"The {kind} parameter must be an array.", f"{field}.{kind}")
        for number, person in enumerate(listed):
            address = _check_address(person, f"{field}.{kind}.{number}").lower()
            if address in within:
                raise Refusal(
                    400,
                    f"Each email address in the personalization block should be unique between to, cc, and bcc. "
                    f"We found the first duplicate instance of [{address}] in the {field}.{kind} field.",
                    field,
                )
            within.add(address)
    if within & seen:
        raise Refusal(400, f"[{min(within & seen)}] is in more than one personalization.", field)
    seen |= within
    subject = given.get("subject", mail.get("subject"))
    if not mail.get("template_id") and not (isinstance(subject, str) and subject):
        raise Refusal(
            400,
            "The subject is required. You can get around this requirement if you use a template with a "
            "subject defined or if every personalization has a subject defined.",
            "subject",
        )
    if isinstance(subject, str) and _breaks_line(subject):
        raise Refusal(400, "The subject must not contain line breaks.", "subject")
    _check_headers(given.get("headers"), f"{field}.headers")
    _check_custom_args(given.get("custom_args"), f"{field}.custom_args")


def _check_address(person: object, field: str) -> str:
    email = mapping(person).get("email")
    if not isinstance(email, str) or not ADDRESS.fullmatch(email):
        raise Refusal(400, "Does not contain a valid address.", f"{field}.email")
    return email


def _check_content(mail: dict[str, Any]) -> None:
    content = mail.get("content")
    if content is None and mail.get("template_id"):
        return
    if not isinstance(content, list) or not content:
        raise Refusal(
            400, "Unless a valid template_id is provided, the content parameter is required.", "content"
        )
    kinds = []
    for number, part in enumerate(map(mapping, content)):
        kind, value = part.get("type"), part.get("value")
        if not isinstance(kind, str) or "/" not in kind:
            raise Refusal(400, "The content type is required.", f"content.{number}.type")
        if not isinstance(value, str) or not value:
            raise Refusal(
                400,
                "The content value must be a string at least one character in length.",
                f"content.{number}.value",
            )
        kinds.append(kind)
    if "text/plain" in kinds and kinds[0] != "text/plain":
        raise Refusal(400, "If present, text/plain must be first, followed by text/html.", "content")


def _check_headers(headers: object, field: str) -> None:
    for name, value in mapping(headers).items():
        if not isinstance(value, str) or _breaks_line(value) or _breaks_line(name):
            raise Refusal(400, "Headers must be strings without line breaks.", f"{field}.{name}")
        if name.lower() in {"to", "from", "subject", "reply-to", "cc", "bcc", "content-type", "received"}:
            raise Refusal(400, f"The header '{name}' is reserved.", f"{field}.{name}")


def _check_custom_args(given: object, field: str) -> None:
    arguments = mapping(given)
    if not all(isinstance(value, str) for value in arguments.values()):
        raise Refusal(400, "Custom argument values must be strings.", field)
    if len(msgspec.json.encode(arguments)) > CUSTOM_ARGS_BYTES_MAX:
        raise Refusal(400, "The custom arguments may not exceed 10000 bytes.", field)


def _entries(mail: dict[str, Any], number: str) -> Iterator[Entry]:
    """One per recipient of every personalization."""
    body = _readable(mail.get("content"))[:BOOKED_BODY_CHARACTERS]
    sender = mapping(mail.get("from")).get("email", "")
    everyone = mail.get("personalizations")
    for place, personalization in enumerate(map(mapping, everyone if isinstance(everyone, list) else [])):
        arguments = {**mapping(mail.get("custom_args")), **mapping(personalization.get("custom_args"))}
        replaced = _substituted(body, personalization)
        for kind in ("to", "cc", "bcc"):
            listed = personalization.get(kind, [])
            for person in listed if isinstance(listed, list) else []:
                yield Entry(
                    address=str(mapping(person).get("email", "")),
                    title=str(personalization.get("subject", mail.get("subject", ""))),
                    body=replaced,
                    message_id=str(arguments.get("message_id", "")),
                    provider_id=f"{number}.{place}",
                    sender=str(sender),
                    extra={k: v for k, v in arguments.items() if isinstance(v, str)},
                )


def _substituted(body: str, personalization: dict[str, Any]) -> str:
    for mark, value in mapping(personalization.get("substitutions")).items():
        body = body.replace(mark, str(value))
    return body


def _readable(content: object) -> str:
    parts = {
        p.get("type"): p.get("value") for p in map(mapping, content if isinstance(content, list) else [])
    }
    plain, rich = parts.get("text/plain"), parts.get("text/html")
    if isinstance(plain, str):
        return plain
    return as_text(rich) if isinstance(rich, str) else ""


def as_text(markup: str) -> str:
    """HTML as one would read it aloud: no tags, no styles."""
    bare = re.sub(r"(?is)<(style|script|head)\b.*?</\1>", "", markup)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))).strip()


def _error(refused: Refusal) -> Answer:
    error: dict[str, Any] = {"message": refused.message, "field": refused.field}
    error["help"] = HELP if refused.field else None
    return Answer(refused.status, msgspec.json.encode({"errors": [error]}), JSON)


def _breaks_line(text: str) -> bool:
    return any(sign in text for sign in "\r\n\0")


_WORDS_OF_STATUS = {
    400: "Bad Request",
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    404: "not found",
    413: "The JSON payload you have included in your request is too large.",
    429: "too many requests",
    500: "internal server error",
    503: "service unavailable",
}
