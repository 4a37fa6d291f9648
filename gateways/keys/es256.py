"""P-256 keys, and tokens signed with them (RFC 7518, ES256), as Apple wants them.

Deterministic (RFC 6979): the same claims give the same bytes, in every process.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateways.rendering import encode_json

_ALGORITHM = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def load_key(pem: str, complaint: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key. Raises ValueError(complaint) for anything else."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(complaint) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError(complaint)


def sign(key: ec.EllipticCurvePrivateKey, head: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A compact JWT; head gets its `alg`."""
    signing = f"{base64(encode_json({'alg': 'ES256', **head}))}.{base64(encode_json(claims))}"
    r, s = decode_dss_signature(key.sign(signing.encode(), _ALGORITHM))
    return f"{signing}.{base64(r.to_bytes(32) + s.to_bytes(32))}"


def base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    """Base64url, padded or not, as browsers differ. Raises ValueError."""
    text = text.rstrip("=")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
