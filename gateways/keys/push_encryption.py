"""Web push encryption (RFC 8291 with aes128gcm, RFC 8188) and VAPID (RFC 8292).

Tokens are signed by py_vapid. Messages are encrypted by `cryptography` alone, where pywebpush's encode costs half as
much again; tests decrypt with http_ece, which it is made of.
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
from py_vapid import Vapid02

from gateways.keys.es256 import load_key, unbase64

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
    """Who we are to a push service: one header per origin, signed by py_vapid and kept for hours."""

    def __init__(self, private_key_pem: str, subject: str, clock: Callable[[], datetime]) -> None:
        complaint = (
            "the VAPID key is no P-256 key; make one with `openssl ecparam -name prime256v1 -genkey -noout`"
        )
        self._signer, self._subject, self._clock = (
            Vapid02(load_key(private_key_pem, complaint)),
            subject,
            clock,
        )
        self._made: dict[str, tuple[float, str]] = {}

    def header(self, origin: str) -> str:
        """`vapid t=...,k=...` for an origin (https://host); the same for hours."""
        now = self._clock().timestamp()
        made_at, header = self._made.get(origin, (0.0, ""))
        if now - made_at > VAPID_RENEW_S:
            claims = {"aud": origin, "exp": int(now) + VAPID_S, "sub": self._subject}
            header = self._signer.sign(claims)["Authorization"]
            self._made[origin] = (now, header)
        return header

    def with_key(self, private_key_pem: str) -> Vapid:
        """Somebody else, reached at the same place. Raises ValueError for what is no P-256 key."""
        return Vapid(private_key_pem, self._subject, self._clock)

    def forget(self, origin: str) -> None:
        self._made.pop(origin, None)
