"""Web push encryption (RFC 8291 with aes128gcm, RFC 8188) and VAPID (RFC 8292).

By `cryptography` alone: pywebpush's encode costs half as much again, and most of the time is the key agreement. Tests
decrypt with http_ece and verify with py_vapid, which pywebpush is made of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from hmac import digest

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateways.es256 import base64, load_key, sign, unbase64

RECORD_BYTES = 4_096
OVERHEAD_BYTES = 86 + 1 + 16
"""Header with the sender's key, the record's delimiter, the tag."""
PLAIN_BYTES_MAX = RECORD_BYTES - OVERHEAD_BYTES
VAPID_S = 12 * 3_600
"""Well under the 24 hours that services allow."""
VAPID_RENEW_S = 6 * 3_600
KEYS_KEPT_MAX = 4_096
"""Parsed keys of subscribers: a fifth of the work saved for those that are written to often."""

_CURVE, _ECDH = ec.SECP256R1(), ec.ECDH()


class BadKeys(ValueError):
    """The subscription's keys are no P-256 point and 16 bytes."""


@lru_cache(KEYS_KEPT_MAX)
def _public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)


def encrypt(plain: bytes, *, p256dh: str, auth: str) -> bytes:
    """One record for one subscriber, OVERHEAD_BYTES longer than `plain`. Raises BadKeys."""
    try:
        point, secret = unbase64(p256dh), unbase64(auth)
        theirs = _public_key(point)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKeys(str(error)) from None
    if len(secret) != 16 or len(point) != 65:
        raise BadKeys("wrong length")
    key = ec.generate_private_key(_CURVE)
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    salt = os.urandom(16)
    shared = digest(secret, key.exchange(_ECDH, theirs), "sha256")
    input_key = digest(shared, b"WebPush: info\0" + point + ours + b"\1", "sha256")
    extracted = digest(salt, input_key, "sha256")
    content_key = digest(extracted, b"Content-Encoding: aes128gcm\0\1", "sha256")[:16]
    nonce = digest(extracted, b"Content-Encoding: nonce\0\1", "sha256")[:12]
    head = salt + RECORD_BYTES.to_bytes(4) + bytes((len(ours),)) + ours
    return head + AESGCM(content_key).encrypt(nonce, plain + b"\2", None)


class Vapid:
    """Who we are to a push service: one signed header per origin, kept for hours."""

    def __init__(self, private_key_pem: str, subject: str, clock: Callable[[], datetime]) -> None:
        complaint = (
            "the VAPID key is no P-256 key; make one with `openssl ecparam -name prime256v1 -genkey -noout`"
        )
        key = load_key(private_key_pem, complaint)
        self._key, self._subject, self._clock = key, subject, clock
        self.public_key = base64(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        self._made: dict[str, tuple[float, str]] = {}

    def header(self, origin: str) -> str:
        """`vapid t=...,k=...` for an origin (https://host); the same for hours."""
        now = self._clock().timestamp()
        made_at, header = self._made.get(origin, (0.0, ""))
        if now - made_at > VAPID_RENEW_S:
            header = f"vapid t={self._token(origin, int(now) + VAPID_S)},k={self.public_key}"
            self._made[origin] = (now, header)
        return header

    def forget(self, origin: str) -> None:
        self._made.pop(origin, None)

    def _token(self, audience: str, expires_at: int) -> str:
        return sign(self._key, {"typ": "JWT"}, {"aud": audience, "exp": expires_at, "sub": self._subject})
