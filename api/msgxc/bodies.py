"""The bodies of the MSGXC contract, as its clients write them, and how they become commands."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from api.http.choices import FIELDS
from commands.clients import Enlist
from commands.messaging import CONTACTS_MAX, TEXT_MIN, Draft
from domain.deliveries.channel import APNS, BUILT_IN, CODES, FCM, WEBPUSH, channels_of
from domain.errors import Invalid
from gateways.registry import channels as offered

Tid = Annotated[str, Meta(min_length=1, max_length=128, description="The thread's id.")]
Uid = Annotated[str, Meta(min_length=1, max_length=256, description="The contact's id.")]
Codes = (
    Annotated[
        list[str],
        Meta(max_length=32, description="Channels: ws, apn, fcm, wpn, sms, em; `~` for none; null for all."),
    ]
    | None
)
When = Annotated[
    datetime | int | float | None,
    Meta(
        description="ISO 8601 with a time zone, or milliseconds since 1970; a time in the past means at once."
    ),
]
Opts = Annotated[
    dict[str, Any] | str | None,
    Meta(extra={FIELDS: ("urgency", "ttl", "sound", "badge", "data", "payload")}),
]
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_OS = {"ios": APNS, "android": FCM}
_TOKENS = {
    APNS: (re.compile(r"(?:[0-9A-Fa-f]{2}){32,100}"), "64 to 200 hexadecimal digits, as the device got them"),
    FCM: (
        re.compile(r"[A-Za-z0-9:_-]{32,4096}"),
        "32 to 4,096 letters, digits and : _ -, as Firebase gave them",
    ),
}
"""What tokens look like: Apple's are 32 bytes and may come to be 100, Firebase's are opaque and some 160 characters."""
POINT_BYTES, AUTH_BYTES = 65, 16
"""RFC 8291, section 3: the browser's public key as an uncompressed point of P-256, and its secret."""
SCHEDULED_MS_MAX = 253_402_300_799_000
"""The end of the year 9999."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body of our own: a field that it does not have is a slip of the pen, and is named instead of passed over."""


class Writing(Body, frozen=True, kw_only=True):
    """What every kind of message says.

    opts: what each provider's message carries beside the text (sound, data, payload); `opts.urgency` 1 to 4 and
    `opts.ttl` in seconds decide how it is sent. pmid: the message it belongs to. sys and broadcast are taken from
    clients of the original and have no effect.
    """

    msg: Annotated[str, Meta(min_length=TEXT_MIN, description="The text, at least two characters.")]
    opts: Opts = None
    subject: str | None = None
    pmid: str | None = None
    sys: bool | None = None
    broadcast: bool | None = None
    scheduled: When = None
    mtypes: Codes = None

    def draft(self) -> Draft:
        """Raises Invalid."""
        opts = _opts(self.opts)
        assert_sound(opts, field="opts.sound")
        return Draft(
            text=self.msg,
            subject=self.subject or "",
            urgency=_whole(opts.pop("urgency"), "opts.urgency") if "urgency" in opts else None,
            ttl_s=_whole(opts.pop("ttl"), "opts.ttl") if "ttl" in opts else None,
            opts=opts,
            scheduled_at=_when(self.scheduled) if self.scheduled is not None else None,
            channels=channels_named(self.mtypes) if self.mtypes is not None else None,
            parent=self.pmid,
        )


class PublishBody(Writing, frozen=True, kw_only=True):
    tid: Tid


class SendBody(Writing, frozen=True, kw_only=True):
    uid: Uid


class MulticastBody(Writing, frozen=True, kw_only=True):
    uids: Annotated[list[Uid], Meta(min_length=1, max_length=CONTACTS_MAX)]


class BroadcastBody(Writing, frozen=True, kw_only=True):
    pass


class MessageBody(Body, frozen=True, kw_only=True):
    """A stored message of a thread. qid and svc are taken from clients of the original and have no effect."""

    mid: UUID
    tid: Tid | None = None
    qid: str | None = None
    svc: str | None = None


class SubscribeBody(Body, frozen=True, kw_only=True):
    """uid: whom, if not oneself (admins only). mtypes: by which channels this thread may reach them."""

    tid: Tid
    uid: Uid | None = None
    mtypes: Codes | msgspec.UnsetType = msgspec.UNSET


class UnsubscribeBody(Body, frozen=True, kw_only=True):
    """uid: whom, if not oneself (admins only)."""

    tid: Tid
    uid: Uid | None = None


class PushKeys(msgspec.Struct, frozen=True, kw_only=True):
    """base64url, as the browser gives them (Push API)."""

    p256dh: str
    auth: str


class EnlistBody(msgspec.Struct, frozen=True, kw_only=True):
    """A phone: os and token. A browser: its PushSubscription, with whatever else browsers come to put there."""

    os: str | None = None
    token: str | None = None
    endpoint: str | None = None
    expirationTime: float | None = None  # noqa: N815  the Push API's name
    keys: PushKeys | None = None

    def command(self, uid: str) -> Enlist:
        """Raises Invalid."""
        if self.endpoint is not None:
            return self._browser(uid, self.endpoint)
        if self.os is None and self.token is None:
            raise Invalid("send os and token for a phone, or endpoint and keys for a browser", field="os")
        channel = _OS.get(self.os or "")
        if channel is None:
            raise Invalid("os is ios or android", field="os")
        token = self.token or ""
        looks, words = _TOKENS[channel]
        if not looks.fullmatch(token):
            raise Invalid(f"token is the device's push token: {words}", field="token")
        return Enlist(uid=uid, channel=channel, identity=token, address=token)

    def _browser(self, uid: str, endpoint: str) -> Enlist:
        if not re.fullmatch(r"https://[!-~]{3,2000}", endpoint):
            raise Invalid("endpoint is the https URL that the browser gave", field="endpoint")
        if self.keys is None:
            raise Invalid("keys is missing: p256dh and auth, as the browser gave them", field="keys")
        point = _bytes(self.keys.p256dh, "keys.p256dh", POINT_BYTES)
        if point[0] != 4:  # 4 marks an uncompressed point
            raise Invalid("this is no uncompressed point of P-256", field="keys.p256dh")
        _bytes(self.keys.auth, "keys.auth", AUTH_BYTES)
        subscription = {
            "endpoint": endpoint,
            "expirationTime": self.expirationTime,
            "keys": msgspec.to_builtins(self.keys),
        }
        address = msgspec.json.encode(subscription).decode()
        return Enlist(uid=uid, channel=WEBPUSH, identity=endpoint, address=address)


def channels_named(codes: Iterable[str] | None, *, field: str = "mtypes") -> tuple[str, ...] | None:
    """Channels by codes or names, as channels_of has them. Raises Invalid for one that the exchange has not."""
    names = channels_of(codes, field=field)
    for name in names or ():
        if name not in BUILT_IN and name not in offered():
            further = "".join(f", {each}" for each in offered() if each not in BUILT_IN)
            raise Invalid(
                f"{name!r} is no channel; there are {', '.join(CODES)}{further}; ~ is none at all",
                field=field,
            )
    return names


def _bytes(text: str, field: str, count: int) -> bytes:
    """Raises Invalid unless it is base64url of so many bytes, padded or not."""
    wrong = Invalid(f"this is no base64url of {count} bytes", field=field)
    if not _BASE64URL.fullmatch(text):
        raise wrong
    bare = text.rstrip("=")
    try:
        value = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except ValueError:
        raise wrong from None
    if len(value) != count:
        raise wrong
    return value


def _opts(value: dict[str, Any] | str | None) -> dict[str, Any]:
    """The original also took a string: JSON of an object, or anything, which then is `data`."""
    if value is None or value == "":
        return {}
    if isinstance(value, dict):
        return dict(value)
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return {"data": value}
    return decoded if isinstance(decoded, dict) else {"data": value}


def assert_sound(opts: Mapping[str, Any], *, field: str) -> None:
    """Raises Invalid for what is neither a file's name nor Apple's object of a critical alert."""
    if not isinstance(opts.get("sound"), str | dict | None):
        raise Invalid("a sound is the name of a file, or an object as Apple has it", field=field)


def _whole(value: Any, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("this is a whole number", field=field)
    return value


def _when(value: datetime | float | None) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    if not 0 <= value <= SCHEDULED_MS_MAX:
        raise Invalid("milliseconds since 1970, or ISO 8601 with a time zone", field="scheduled")
    return datetime.fromtimestamp(value / 1000, UTC)
