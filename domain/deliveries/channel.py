"""Channels: the ways a message can reach a contact, and the short codes of the MSGXC contract."""

from __future__ import annotations

from collections.abc import Iterable

from domain.errors import Invalid

WEBSOCKET, APNS, FCM, WEBPUSH, SMS, EMAIL = "websocket", "apns", "fcm", "webpush", "sms", "email"

BUILT_IN = (WEBSOCKET, APNS, FCM, WEBPUSH, SMS, EMAIL)
"""The channels that ship with the exchange; a further one is one module in gateways/."""

HMS = "hms"
"""Huawei's push service. Its tokens are kept, for the day that there is a gateway; nothing is sent to them."""

OFF = "~"
"""In a list of channel codes: reach this thread or contact by no channel at all."""

CODES = {"ws": WEBSOCKET, "apn": APNS, "fcm": FCM, "wpn": WEBPUSH, "sms": SMS, "em": EMAIL}
"""The `mtypes` codes of the MSGXC contract."""

OF_CONTACT = frozenset({SMS, EMAIL})
"""Channels whose address belongs to the contact; a push address belongs to a client."""

APP_CHANNELS = (APNS, FCM, WEBPUSH)
"""Channels by which an app or a web domain reaches its own clients."""


def channels_of(codes: Iterable[str] | None, *, field: str = "mtypes") -> tuple[str, ...] | None:
    """Channel names for contract codes or names: None means all, () means none (`~`).

    Raises Invalid for a code that is neither.
    """
    if codes is None:
        return None
    names: list[str] = []
    for code in codes:
        if code == OFF:
            return ()
        name = CODES.get(code, code)
        if not name.isalnum() or len(name) > 32:
            raise Invalid(f"{code!r} is no channel; use one of {', '.join(CODES)} or ~", field=field)
        names.append(name)
    return tuple(dict.fromkeys(names))
