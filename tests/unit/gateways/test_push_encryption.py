"""Our web push encryption and VAPID, checked by the libraries others use."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import http_ece  # type: ignore[import-untyped]
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from py_vapid import Vapid02
from pywebpush import WebPusher

from gateways.keys.es256 import base64, load_key
from gateways.keys.push_encryption import OVERHEAD_BYTES, PLAIN_BYTES_MAX, BadKeys, Vapid, encrypt

KEY = ec.generate_private_key(ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
SECRET = os.urandom(16)
KEYS = {"p256dh": base64(POINT), "auth": base64(SECRET)}
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=PLAIN_BYTES_MAX))
def test_a_browser_can_read_it(plain: bytes) -> None:
    """http_ece, which browsers' test suites use, decrypts every record; it is as long as promised."""
    record = encrypt(plain, **KEYS)
    assert len(record) == len(plain) + OVERHEAD_BYTES
    assert http_ece.decrypt(record, private_key=KEY, auth_secret=SECRET, version="aes128gcm") == plain


def test_pywebpush_reads_the_same_keys() -> None:
    """Padded or not, base64url or base64, as browsers and libraries write them."""
    padded = {"p256dh": KEYS["p256dh"] + "=", "auth": KEYS["auth"] + "=="}
    for keys in (KEYS, padded):
        record = encrypt(b"x", **keys)
        assert http_ece.decrypt(record, private_key=KEY, auth_secret=SECRET, version="aes128gcm") == b"x"
    theirs = WebPusher({"endpoint": "https://x.example/1", "keys": KEYS}).encode(b"x")["body"]
    assert len(theirs) == len(encrypt(b"x", **KEYS))


def test_no_two_records_are_alike() -> None:
    """A fresh key and salt each time."""
    assert len({encrypt(b"x", **KEYS) for _ in range(10)}) == 10


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", KEYS["auth"]),
        (KEYS["p256dh"], ""),
        (KEYS["p256dh"][:-4], KEYS["auth"]),
        (base64(b"\x04" + bytes(64)), KEYS["auth"]),
        (base64(KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)), KEYS["auth"]),
        ("ü", KEYS["auth"]),
    ],
    ids=["no key", "no secret", "cut off", "no point", "compressed", "no base64"],
)
def test_keys_that_are_none(p256dh: str, auth: str) -> None:
    """Points off the curve and secrets of another length are refused, not crashed upon."""
    with pytest.raises(BadKeys):
        encrypt(b"x", p256dh=p256dh, auth=auth)


def test_vapid_verifies() -> None:
    """The header is what push services verify: token and key fit, audience and subject are ours."""
    vapid = Vapid(PEM, "mailto:push@example.org", lambda: datetime.now(UTC))
    header = vapid.header("https://push.example")
    assert Vapid02.verify(header)
    token = header.removeprefix("vapid t=").partition(",k=")[0]
    claims = jwt.decode(token, KEY.public_key(), algorithms=["ES256"], audience="https://push.example")
    assert claims["sub"] == "mailto:push@example.org"


def test_vapid_is_renewed_long_before_it_ends() -> None:
    """The same bytes for hours, per origin; new ones while the old are still good."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    clock = [now]
    vapid = Vapid(PEM, "https://example.org", lambda: clock[0])
    first = vapid.header("https://a.example")
    assert vapid.header("https://b.example") != first
    clock[0] = now + timedelta(hours=5)
    assert vapid.header("https://a.example") == first
    clock[0] = now + timedelta(hours=7)
    assert vapid.header("https://a.example") != first
    assert urlsplit("https://a.example").netloc == "a.example"


@pytest.mark.parametrize("pem", ["", "nonsense", PEM[:100]], ids=["empty", "no PEM", "cut off"])
def test_a_key_that_is_none(pem: str) -> None:
    """The complaint says what to write and shows nothing of the key."""
    with pytest.raises(ValueError, match="write this") as refused:
        load_key(pem, "write this")
    assert refused.value.__cause__ is None
