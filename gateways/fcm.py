"""Firebase Cloud Messaging, HTTP v1 API, over HTTP/2.

Owns the FCM message, its limits and the meaning of its errors. Removes no address for an error of ours: only the
messages that name the token do. Source: firebase.google.com, "FCM error codes" and "REST: projects.messages".
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.deliveries import channel
from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry
from domain.errors import Invalid
from domain.message import Content
from gateways.keys.google_token import GoogleToken, TokenRefused, TokenUnavailable
from gateways.port import Channel, ChannelHalted, Gateway, GatewayConfig, Notice, Target
from gateways.rendering import (
    PAYLOAD_BYTES_MAX,
    TID_CHARS_ASSUMED,
    check_size,
    encode_json,
    own_data,
    repeat_ids,
)
from gateways.styles.letter import letter
from gateways.styles.sheet import FcmForm
from gateways.transport import Answer, Request, Result, Transport
from gateways.verdict import (
    HALT_S,
    Credit,
    Halt,
    Verdict,
    at,
    clipped,
    conclude,
    in_time,
    json_of,
    judge_each,
    listed,
    now_utc,
    retry_after_s,
    said,
    seconds_left,
    unanswered,
)

URL = "https://fcm.googleapis.com"
TTL_S_MAX = 2_419_200
"""Four weeks: FCM keeps nothing longer."""
PRIORITY = {1: "NORMAL", 2: "NORMAL", 3: "HIGH", 4: "HIGH"}
APNS_PRIORITY = {1: "1", 2: "5", 3: "10", 4: "10"}
WEB_URGENCY = {1: "very-low", 2: "low", 3: "normal", 4: "high"}
QUOTA_S, TROUBLE_S = 60.0, 1.0
"""Where FCM gives no Retry-After: its own advice for a quota, and for its own trouble."""
CONNECTIONS_MAX = 4
_RESERVED = ("google.", "gcm.")
_OF_ANOTHER = frozenset({"SENDER_ID_MISMATCH", "THIRD_PARTY_AUTH_ERROR"})
"""A registration of another project, or a browser's for another VAPID key."""
_RESERVED_KEYS = frozenset({"from", "message_type", "collapse_key"})
_decode_taken: Callable[[bytes], dict[str, str]] = msgspec.json.Decoder(dict[str, str]).decode
_NO_TOKEN = "not a valid fcm registration token"  # noqa: S105  a phrase of FCM's, no password


class FcmConfig(GatewayConfig, frozen=True, kw_only=True):
    """credentials_info: the service account's JSON, parsed. ca_file: instead of the system's authorities."""

    SECRET = frozenset({"credentials_info"})

    credentials_info: dict[str, Any]
    url: str = URL
    ca_file: str | None = None


class FcmGateway:
    channel = channel.FCM
    slice_size = 500

    def __init__(
        self,
        project: str,
        transport: Transport,
        token: GoogleToken,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._path = f"/v1/projects/{project}/messages:send".encode()
        self._transport, self._token, self._clock = transport, token, clock
        self._announced = ""
        self._credit = Credit(clock)

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        now = self._clock()
        template = Template(notice, now)
        ids = repeat_ids(notice.message, targets)
        bodies = [template.body(target, id) for target, id in zip(targets, ids, strict=True)]
        if any(body is None for body in bodies):
            return [Rejected("PayloadTooLarge")] * len(targets)
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        try:
            self._announce(await self._token.get(timeout_s=deadline_s))
        except TokenUnavailable as trouble:
            return [Retry("oauth", None, clipped(str(trouble)))] * len(targets)
        except TokenRefused as refusal:
            waits = [Retry("oauth", HALT_S, clipped(str(refusal)))] * len(targets)
            raise ChannelHalted("oauth", waits, detail=str(refusal), retry_after_s=HALT_S) from None
        results = await self._transport.post_many(
            [Request(self._path, body) for body in bodies if body is not None],
            deadline_s=until - loop.time(),
        )
        now = self._clock()
        verdicts = judge_each(self.channel, results, lambda _, result: judge(result, notice, now))
        if any(isinstance(verdict, Halt) for verdict in verdicts):
            self._token.forget()
        return conclude(verdicts, self._credit, targets=targets)

    async def is_good(self, token: str, *, deadline_s: float) -> bool | None:
        """Whether FCM knows a registration token (`validate_only`); None when it does not say."""
        try:
            self._announce(await self._token.get(timeout_s=deadline_s))
        except (TokenUnavailable, TokenRefused):
            return None
        body = encode_json({"validate_only": True, "message": {"token": token, "data": {}}})
        [result] = await self._transport.post_many([Request(self._path, body)], deadline_s=deadline_s)
        if not isinstance(result, Answer) or result.status not in (200, 400, 404):
            return None
        return result.status == 200

    def check(self, content: Content) -> None:
        assert_free(own_data(content))
        form = FcmForm(_data(content, UUID(int=0), "x" * TID_CHARS_ASSUMED), _notification(content))
        check_size("FCM", size_of(form))

    async def aclose(self) -> None:
        await self._transport.aclose()
        await self._token.aclose()

    def _announce(self, token: str) -> None:
        if token != self._announced:
            self._transport.set_header(b"authorization", b"Bearer " + token.encode())
            self._announced = token


class Template:
    """A message for many tokens: rendered once, then only what differs is filled in: the token, the id that lets a
    repeat replace, and what an app's style says to each.

    size_bytes: what counts towards FCM's limit, before anything is filled in.
    """

    def __init__(self, notice: Notice, now: datetime) -> None:
        nonce = secrets.token_hex(12)  # so that no text of a sender is taken for one of these
        token, id = f"{nonce}t", f"{nonce}i"
        self._token, self._id = encode_json(token), id.encode()
        self.size_bytes = 0

        def write(form: FcmForm) -> bytes:
            self.size_bytes = size_of(form)
            return encode_json({"message": _message(form, notice, now, token, id)})

        self._letter = letter(notice, channel.FCM, lambda style, sheet: write(style.fcm(sheet)))
        self._body = b""
        if self._letter is None:
            content = notice.content
            self._body = write(FcmForm(_data(content, notice.message, notice.tid), _notification(content)))

    def body(self, target: Target, id: str) -> bytes | None:
        """None when FCM would find it too large. id: lets a repeat replace."""
        body = self._body if self._letter is None else self._letter.body(target)
        filled_bytes = 0 if self._letter is None else len(body) - self._letter.blank_bytes
        if self.size_bytes + filled_bytes > PAYLOAD_BYTES_MAX:
            return None
        return body.replace(self._id, id.encode()).replace(self._token, encode_json(target.address))


def _message(form: FcmForm, notice: Notice, now: datetime, token: str, id: str) -> dict[str, Any]:
    ttl_s = min(seconds_left(notice, now), TTL_S_MAX)
    message: dict[str, Any] = {"token": token}
    android: dict[str, Any] = {
        "priority": PRIORITY[notice.urgency],
        "ttl": f"{ttl_s}s",
        "collapse_key": id,
    }
    if form.notification is not None:
        message["notification"] = form.notification
        android["notification"] = {"tag": id, **_sound(notice.content.opts.get("sound"))}
    web: dict[str, Any] = {"headers": {"TTL": str(ttl_s), "Urgency": WEB_URGENCY[notice.urgency]}}
    if form.link:
        web["fcm_options"] = {"link": form.link}
    apple = {
        "apns-priority": APNS_PRIORITY[notice.urgency],
        "apns-expiration": str(int(notice.expires_at.timestamp())),
        "apns-collapse-id": id,
    }
    return {
        **message,
        "data": form.data,
        "android": android,
        "apns": {"headers": apple},
        "webpush": web,
    }


def _sound(sound: Any) -> dict[str, str]:
    """As Android takes it: the name of a file. Apple's sound may be an object, with a name and a volume."""
    name = sound.get("name") if isinstance(sound, dict) else sound
    return {"sound": name} if name and isinstance(name, str) else {}


def assert_free(keys: Iterable[str]) -> None:
    """Raises Invalid for a data key that FCM would refuse the whole message for."""
    for key in keys:
        if key in _RESERVED_KEYS or key.startswith(_RESERVED):
            raise Invalid(f"FCM keeps the data key {key!r} for itself", field="opts")


def _notification(content: Content) -> dict[str, str]:
    return {"title": content.subject, "body": content.text} if content.subject else {"body": content.text}


def _data(content: Content, message: UUID, tid: str | None) -> dict[str, str]:
    """FCM data is text to text; what is not becomes JSON."""
    own = {
        key: value if isinstance(value, str) else encode_json(value).decode()
        for key, value in own_data(content).items()
    }
    return {**own, "message_id": message.hex, **({} if tid is None else {"tid": tid})}


def size_of(form: FcmForm) -> int:
    """What counts towards the limit: notification and data."""
    shown = len(encode_json(form.notification)) if form.notification is not None else 0
    return shown + len(encode_json(form.data))


def judge(result: Result, notice: Notice, now: datetime) -> Verdict:
    if not isinstance(result, Answer):
        return unanswered(result)
    if result.status == 200:
        return Accepted(provider_id=_name_of(result))
    body = json_of(result)
    error = at(body, "error")
    named = (said(detail, "errorCode") for detail in listed(error, "details"))
    code = next(filter(None, named), "") or said(error, "status") or str(result.status)
    return _judge_error(result, code, said(error, "message"), notice, now)


def _name_of(answer: Answer) -> str:
    """What FCM calls the message."""
    # Hot path: as it is nearly always said; anything else is looked at with care.
    try:
        name = _decode_taken(answer.body)["name"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return said(json_of(answer), "name")
    return clipped(name)


def _judge_error(result: Answer, code: str, detail: str, notice: Notice, now: datetime) -> Verdict:
    match result.status:
        case 404 if code == "UNREGISTERED":
            # Quarantine; FCM says so of living tokens too, for a while.
            return Gone(code, confirm=True, detail=detail)
        case 400 if _NO_TOKEN in detail.lower():
            return Gone(code, detail=detail)
        case 400 | 404 | 413:
            return Rejected(code, detail=detail)
        case 401 | 403:
            return Halt(code, detail, doubtful=code in _OF_ANOTHER)
        case 429 | 500 | 502 | 503 | 504:
            asked_s = retry_after_s(result.headers, now)
            after_s = asked_s if asked_s is not None else QUOTA_S if result.status == 429 else TROUBLE_S
            return in_time(after_s, notice, now, Retry(code, after_s, detail))
        case _:
            return Rejected(code, detail=f"unexpected status {result.status}")


def build(config: FcmConfig) -> Gateway:
    from gateways.http2 import Http2Transport

    project = config.credentials_info.get("project_id")
    if not isinstance(project, str) or not project:
        raise ValueError(
            "the FCM credentials name no project_id; use the service account's JSON file from Firebase"
        )
    transport = Http2Transport(
        config.url,
        ca_file=config.ca_file,
        constants=((b"content-type", b"application/json"),),
        connections_max=CONNECTIONS_MAX,
    )
    return FcmGateway(project, transport, GoogleToken(config.credentials_info, ca_file=config.ca_file))


CHANNEL = Channel(channel.FCM, FcmConfig, build)
