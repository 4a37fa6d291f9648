"""One signing key, from a JWK, a PEM or a plain secret: what it may be, its name, its one algorithm.

Never shows a key, and never lets a signature's form choose how it is checked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from infra.configuration.environment import key_bytes

SECRET_BYTES_MIN = 32
"""An HS256 secret is as long as its hash (RFC 7518, section 3.2)."""
KEYS_MAX = 100
"""More keys than any rotation needs."""
_BLOCK_BYTES = 64
"""SHA-256's."""
KID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A kid stands in every token's header, and in the name of a file."""


class BadKey(ValueError):
    """A key that cannot be used; says which and why, never the key."""


class SecretKey(msgspec.Struct, frozen=True):
    """HS256."""

    kid: str
    secret: bytes
    algorithm: str = "HS256"

    def sign(self, data: bytes) -> bytes:
        # Hot path: HMAC-SHA256 (RFC 2104) from its two keyed states, which takes 60 % of doing it anew each time.
        keyed_inner, keyed_outer = _keyed(self.secret)
        inner, outer = keyed_inner.copy(), keyed_outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        signature: bytes = outer.digest()
        return signature

    def verify(self, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(data), signature)

    def __repr__(self) -> str:
        return f"SecretKey({self.kid})"


@lru_cache(maxsize=KEYS_MAX)
def _keyed(secret: bytes) -> tuple[Any, Any]:
    """The states of the inner and the outer hash, to be copied."""
    block = secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()
    block = block.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return inner, outer


class PairKey(msgspec.Struct, frozen=True):
    """ES256 or EdDSA. method: PyJWT's algorithm, which knows a JWS's form of a signature."""

    kid: str
    algorithm: str
    method: Any
    private: Any

    def sign(self, data: bytes) -> bytes:
        signature: bytes = self.method.sign(data, self.private)
        return signature

    def verify(self, data: bytes, signature: bytes) -> bool:
        return bool(self.method.verify(data, self.private.public_key(), signature))

    def __repr__(self) -> str:
        return f"PairKey({self.kid}, {self.algorithm})"


Key = SecretKey | PairKey


class KeySet(msgspec.Struct, frozen=True):
    """Satisfies api.emarsys.port.SigningKeySet. Its identity is its version."""

    signing: Key
    verifying: tuple[Key, ...]


def key_set(keys: Iterable[Key], *, source: str, signing: Key | None = None) -> KeySet:
    """The set of these keys; the first one signs unless `signing` names another.

    Raises BadKey for none, too many, or two of one kid.
    """
    found = tuple(keys)
    if not found:
        raise BadKey(f"{source} holds no key: write one that can sign")
    if len(found) > KEYS_MAX:
        raise BadKey(f"{source}: {len(found)} keys; at most {KEYS_MAX} are read")
    if len({key.kid for key in found}) < len(found):
        raise BadKey(f"{source}: two keys have the same kid")
    return KeySet(signing or found[0], found)


def parse(content: bytes, *, source: str, kid: str = "") -> list[Key]:
    """Keys of a JWKS, a JWK, a PEM, or a secret written as hex or base64; in their order.

    kid: the name of a key that has none of its own; "" takes a digest of it. Raises BadKey.
    """
    text = content.strip()
    if text.startswith(b"{"):
        return _of_jwks(text, source, kid)
    if text.startswith(b"-----BEGIN"):
        return [_of_pem(text, source, kid)]
    try:
        return [_secret(key_bytes(text.decode("ascii")), source, kid)]
    except ValueError as error:
        if isinstance(error, BadKey):
            raise
        raise BadKey(f"{source}: write a JWKS, a PEM, or 32 random bytes in hex or base64") from None


def _of_jwks(text: bytes, source: str, kid: str) -> list[Key]:
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        entries = msgspec.convert(document.get("keys", [document]), list[dict[str, Any]])
    except (ValueError, RecursionError):
        raise BadKey(f'{source} is no JWKS: write {{"keys": [...]}}') from None
    named = kid if len(entries) == 1 else ""
    return [_of_jwk(entry, source, named) for entry in entries if entry.get("use", "sig") == "sig"]


def _of_jwk(entry: dict[str, Any], source: str, kid: str) -> Key:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    algorithm = _ALGORITHM_OF.get((str(entry.get("kty")), str(entry.get("crv", ""))))
    name = entry.get("kid") or kid
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        raise BadKey(f"{source}: use HS256 (oct), ES256 (EC P-256) or EdDSA (OKP Ed25519)")
    if entry.get("kty") != "oct" and "d" not in entry:
        raise BadKey(f"{source}: a public key cannot sign; write the private one")
    try:
        material = PyJWK({**entry, "alg": algorithm}).key
    except (PyJWTError, KeyError, TypeError, ValueError):
        raise BadKey(f"{source}: a key cannot be read as a JWK") from None
    if isinstance(material, bytes):
        return _secret(material, source, name)
    return _pair(material, algorithm, source, name)


def _of_pem(text: bytes, source: str, kid: str) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey(f"{source}: the PEM holds no private key that can be read without a password") from None
    if isinstance(private, Ed25519PrivateKey):
        return _pair(private, "EdDSA", source, kid)
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return _pair(private, "ES256", source, kid)
    raise BadKey(f"{source}: a PEM holds a P-256 or an Ed25519 key")


def _secret(secret: bytes, source: str, kid: str) -> Key:
    if len(secret) < SECRET_BYTES_MIN:
        raise BadKey(f"{source}: an HS256 secret needs at least {SECRET_BYTES_MIN} bytes")
    return SecretKey(_named(kid, secret, source), secret)


def _pair(private: Any, algorithm: str, source: str, kid: str) -> Key:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jwt import get_algorithm_by_name

    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PairKey(_named(kid, public, source), algorithm, get_algorithm_by_name(algorithm), private)


def _named(kid: Any, material: bytes, source: str) -> str:
    if not kid:
        return hashlib.sha256(b"msgxc key id\0" + material).hexdigest()[:16]
    if not isinstance(kid, str) or not KID.fullmatch(kid):
        raise BadKey(f"{source}: a kid has 1 to 64 letters, digits, dots, dashes or underscores")
    return kid


_ALGORITHM_OF = {("oct", ""): "HS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""(kty, crv) to the one algorithm that such a key is for."""
