"""What a device calls its push token, as an address of a channel. Knows no provider's opinion of it."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from domain.deliveries.channel import APNS, FCM, HMS, WEBPUSH
from domain.errors import Invalid

TOKEN_MAX = 4_096
"""Characters; the longest subscription seen in the wild is about 1 kB."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
_APNS_TOKEN = re.compile(r"[0-9A-Fa-f]{64}")
"""What iOS has handed out so far; tokens of FCM are longer, and have a colon."""
_ENDPOINT = re.compile(r"https://[\x21-\x7e]{3,2000}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,256}={0,2}")
_CHANNELS = {"ios": APNS, "safari": APNS, "android": FCM, "android-huawei": HMS}
"""safari: of the web SDK (2.6, safari-push-service.js), whose token is Apple's where it is no PushSubscription."""


class PushAddress(NamedTuple):
    """identity: what tells two addresses apart. address: all that is needed to send to it."""

    channel: str
    identity: str
    address: str


class _Keys(msgspec.Struct, frozen=True):
    p256dh: str
    auth: str


class WebSubscription(msgspec.Struct, frozen=True):
    """A browser's PushSubscription (W3C Push API): what it takes to send to it."""

    endpoint: str
    keys: _Keys


read_subscription = msgspec.json.Decoder(WebSubscription).decode
"""From its JSON. Raises msgspec.DecodeError."""


def push_address(token: str, platform: str) -> PushAddress:
    """platform: as the device registered it; "" when it has not yet, and then the token's looks decide. A browser's
    token is its PushSubscription as JSON.

    Raises Invalid.
    """
    if not 1 <= len(token) <= TOKEN_MAX:
        raise Invalid(f"a push token has 1 to {TOKEN_MAX:,} characters", field="pushToken")
    if token.lstrip().startswith("{"):
        return _of_browser(token)
    if not _TOKEN.fullmatch(token):
        raise Invalid("a push token has visible ASCII characters alone", field="pushToken")
    return PushAddress(_channel(token, platform), token, token)


def _channel(token: str, platform: str) -> str:
    if not platform and _APNS_TOKEN.fullmatch(token):
        return APNS
    return _CHANNELS.get(platform.casefold(), FCM)


def _of_browser(token: str) -> PushAddress:
    try:
        subscription = read_subscription(token)
    except (msgspec.DecodeError, RecursionError):
        raise Invalid("this is no PushSubscription with endpoint and keys", field="pushToken") from None
    keys = subscription.keys
    if not _ENDPOINT.fullmatch(subscription.endpoint):
        raise Invalid("endpoint is the https URL that the browser gave", field="pushToken")
    if not (_BASE64URL.fullmatch(keys.p256dh) and _BASE64URL.fullmatch(keys.auth)):
        raise Invalid("keys has p256dh and auth in base64url", field="pushToken")
    return PushAddress(WEBPUSH, subscription.endpoint, msgspec.json.encode(subscription).decode())
