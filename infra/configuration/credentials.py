"""What files of keys, certificates and credentials must hold, so that a wrong one is told when settings are read.

Each check answers whether a file can be used, and raises OSError or ValueError for one that cannot even be read.
Keeps nothing, shows nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

FILE_BYTES_MAX: Final = 64 * 1024
"""Any of them is smaller; a larger file is the wrong file."""

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_USER_SEED = re.compile(r"SU[A-Z2-7]{56}")


def is_p256_key(path: Path) -> bool:
    """A private key for ES256, as PEM: Apple's .p8 is one, and so is a VAPID key."""
    from gateways.keys.es256 import load_key

    load_key(_text(path), "no P-256 key")
    return True


def is_p256_public_key(text: str) -> bool:
    """As SendGrid shows the one that its webhook's signatures are verified with: DER, base64."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(text))
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def are_channels(path: Path) -> bool:
    """A configuration by channel."""
    return bool(msgspec.json.decode(_text(path), type=dict[str, dict[str, Any]]))


def is_service_account(path: Path) -> bool:
    """The key file of a Google service account."""
    return _has_account(_object(path))


def is_project_account(path: Path) -> bool:
    """The same, with the project that FCM sends for."""
    account = _object(path)
    return _is_text(account.get("project_id")) and _has_account(account)


def are_certificates(path: Path) -> bool:
    """One certificate at least, as PEM."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context.cert_store_stats()["x509"] > 0


def is_nats_creds(path: Path) -> bool:
    """A user's JWT and seed, each on the line after its heading, which is how nats-py finds them."""
    lines = _text(path).split("\n")
    token, seed = _after(lines, "BEGIN NATS USER JWT"), _after(lines, "BEGIN USER NKEY SEED")
    return _JWT.fullmatch(token) is not None and _USER_SEED.fullmatch(seed) is not None and _is_whole(seed)


def _after(lines: list[str], heading: str) -> str:
    found = (line for before, line in pairwise(lines) if heading in before)
    return next(found, "")


def _is_whole(seed: str) -> bool:
    """An nkey ends with its CRC-16: no letter was lost or changed."""
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    return binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")


def _has_account(account: dict[str, Any]) -> bool:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    texts = [account.get(name) for name in ("client_email", "token_uri", "private_key")]
    if account.get("type") != "service_account" or not all(map(_is_text, texts)):
        return False
    # Whether its primes are primes is Google's affair, and would take longer than all else.
    key = load_pem_private_key(
        str(account["private_key"]).encode(), None, unsafe_skip_rsa_key_validation=True
    )
    return isinstance(key, RSAPrivateKey)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _object(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(_text(path), type=dict[str, Any])


def _text(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError("too large")
    return path.read_bytes().decode("utf-8")
