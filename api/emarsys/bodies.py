"""Bodies of the client service, as SDKs send them: numbers as texts, fields of later versions, or nothing at all."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import field

from api.emarsys.identity.jws import escaped
from api.emarsys.identity.tokens import CONTACT_VALUE_BYTES_MAX
from commands.sdk_contacts import VALUE_MAX
from domain.contact import Identity
from domain.devices.push_token import push_address
from domain.errors import Invalid, TooLarge
from domain.text.nesting import DEPTH_MAX, assert_shallow

PROPERTIES_BYTES_MAX = 16_384
"""What an SDK says of its device has about 1 kB; Android adds 150 bytes for each notification channel, and an app has a
hundred where each conversation is one.
"""

GROWTH_MAX = 8
"""How many times longer a JSON may be as we write it."""

Properties = dict[str, Any]


class PushTokenBody(msgspec.Struct, frozen=True):
    """pushToken: the device's; in browsers, JSON.stringify of the PushSubscription."""

    push_token: str = field(name="pushToken")

    def __post_init__(self) -> None:
        """Raises Invalid for what can be no push token, whoever tells it."""
        push_address(self.push_token, "")


class ContactBody(msgspec.Struct, frozen=True, rename="camel"):
    """Who signed in: the value of a contact field, or an OpenID Connect id token. v4 never names the field."""

    contact_field_id: int | None = None
    contact_field_value: str | int | None = None
    open_id_token: str | None = None
    contact_field_encrypted: bool | None = None


class RefreshBody(msgspec.Struct, frozen=True, rename="camel"):
    refresh_token: str


class SwitchBody(msgspec.Struct, frozen=True):
    """to: the code of the app that the device is to be of."""

    to: str


class Tokens(msgspec.Struct, frozen=True, rename="camel"):
    contact_token: str
    refresh_token: str


class ContactTokenAnswer(msgspec.Struct, frozen=True, rename="camel"):
    contact_token: str


def properties_of(body: Properties, content: bytes) -> Properties:
    """What the client says of itself, read from this JSON; without its notification channels, where these are too many.
    Android tells all of them, and after a refusal never anything again: any answer is one to it
    (ClientInfoResponseHandler.kt at 3.11.0).

    Raises TooLarge or Invalid.
    """
    # Hot path: what is written in so few bytes is not too large in any form (a number grows most: 1e15 has four), and
    # what has so few brackets cannot be deep: nearly all need not be looked through.
    may_be_large = len(content) * GROWTH_MAX > PROPERTIES_BYTES_MAX
    if may_be_large and _is_large(body):
        if isinstance(settings := body.get("pushSettings"), dict):
            settings.pop("channelSettings", None)
        if _is_large(body):
            raise TooLarge(f"a client's properties have at most {PROPERTIES_BYTES_MAX:,} bytes", field="body")
    if content.count(b"[") + content.count(b"{") > DEPTH_MAX:
        assert_shallow(body, field="body")
    body.pop("clientId", None)
    return body


def _is_large(body: Properties) -> bool:
    return len(msgspec.json.encode(body)) > PROPERTIES_BYTES_MAX


def identity_of(body: ContactBody, default_field: int | None) -> Identity:
    """Raises Invalid."""
    number = body.contact_field_id if body.contact_field_id is not None else default_field
    if number is None:
        raise Invalid("say which contact field is meant; the app has no usual one", field="contactFieldId")
    if not 1 <= number < 2**31:
        raise Invalid("a contact field's number is 1 to 2147483647", field="contactFieldId")
    if body.open_id_token is not None:
        value = subject_of(body.open_id_token)
    elif body.contact_field_value is not None:
        value = str(body.contact_field_value)
    else:
        value = ""
    size = len(escaped(msgspec.json.encode(value)))
    if not 1 <= len(value) <= VALUE_MAX or size > CONTACT_VALUE_BYTES_MAX:
        said = f"say who it is, in 1 to {VALUE_MAX} characters and {CONTACT_VALUE_BYTES_MAX} bytes as JSON in ASCII"
        raise Invalid(said, field="contactFieldValue")
    return Identity(number, value, bool(body.contact_field_encrypted))


class _Claims(msgspec.Struct, frozen=True):
    sub: str


def subject_of(token: str) -> str:
    """Whom an id token is about, where all are believed or there is no app (else see api.emarsys.identity.id_tokens).

    It is read, not verified: it names a person just as a contact field's value does, and proves as little.
    """
    try:
        payload = token.split(".")[1]
        claims = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(claims, type=_Claims).sub
    except (IndexError, binascii.Error, ValueError, RecursionError):
        raise Invalid("this is no id token with a claim `sub`", field="openIdToken") from None
