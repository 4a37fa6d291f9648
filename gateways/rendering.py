"""What all push channels say alike: a message's ids, the sender's own data, sizes.

Pure. How a provider wants it said is each gateway's business.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha1, sha256
from typing import Any
from uuid import UUID

import msgspec

from domain.errors import TooLarge
from domain.message import Content
from gateways.port import Target

PAYLOAD_BYTES_MAX = 4_096
"""APNs, FCM and web push alike."""
TID_CHARS_ASSUMED = 36
"""Content is checked before its thread's id is known; most are UUIDs. What turns out longer is refused when sent."""

encode_json = msgspec.json.Encoder(enc_hook=str).encode


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit of a UUID that says which kind it is, two of its bits still free (RFC 9562, 4.1)."""


def repeat_id(message: UUID, target: Target) -> str:
    """The same message to the same target has the same id, however often it is sent: UUIDv5(message, client)."""
    return repeat_ids(message, (target,))[0]


def repeat_ids(message: UUID, targets: Sequence[Target]) -> list[str]:
    """The same for each of many targets.

    Hot path: written out, since `uuid.uuid5` took half of a notification's time.
    """
    ids = []
    begun = sha1(message.bytes, usedforsecurity=False)
    for target in targets:
        named = begun.copy()
        named.update(b"%032x" % (target.client or target.contact or message).int)
        digits = named.hexdigest()
        ids.append(
            f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
        )
    return ids


def topic_of(message: UUID, target: Target) -> str:
    """The same as 32 characters of base64url (RFC 8030, 5.4)."""
    return urlsafe_b64encode(sha256(target.send_id(message).encode()).digest()[:24]).decode()


def own_data(content: Content) -> dict[str, Any]:
    """What the sender wants handed to the application: opts.payload, else opts.data."""
    data = content.opts.get("payload") or content.opts.get("data") or {}
    return dict(data) if isinstance(data, dict) else {"data": data}


def check_size(channel: str, size_bytes: int, limit_bytes: int = PAYLOAD_BYTES_MAX) -> None:
    if size_bytes > limit_bytes:
        raise TooLarge(
            f"{channel} carries {limit_bytes} bytes, this message needs {size_bytes}; make it shorter",
            field="msg",
        )
