"""Keys that tokens are verified with: read from a JWKS (RFC 7517), one algorithm per key.

Never guesses an algorithm from a token: the key says what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

HS256_KEY_MIN = 32
"""Bytes of an HS256 secret: as long as its hash (RFC 7518, section 3.2)."""
RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""
KEYS_MAX = 100
"""More keys than any rotation needs; a longer set is a mistake."""

ALGORITHM_OF = {
    ("oct", ""): "HS256",
    ("RSA", ""): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""(kty, crv) to the one algorithm such a key verifies here."""


class BadKeys(ValueError):
    """A JWKS that cannot be used; says which key and why, never the key."""


class Key(msgspec.Struct, frozen=True):
    """kid "" has none. verifier: what PyJWT verifies with (secret bytes or a public key)."""

    kid: str
    algorithm: str
    verifier: Any


class KeySet(msgspec.Struct, frozen=True):
    """An immutable set. Its identity is its version: a changed set is another object."""

    keys: tuple[Key, ...] = ()

    def find(self, algorithm: str, kid: str | None) -> Key | None:
        """The key a token's header points at: by kid, or the only one of its algorithm. None when there is none."""
        if kid is not None:
            fitting = [key for key in self.keys if key.kid == kid and key.algorithm == algorithm]
        else:
            fitting = [key for key in self.keys if key.algorithm == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def parse_jwks(document: Any, *, source: str) -> tuple[Key, ...]:
    """Keys of a JWKS or of a single JWK. Raises BadKeys naming the source and what to mend."""
    return tuple(_parse_key(entry, source=source) for entry in _entries(document, source))


def usable_keys(document: Any, *, source: str) -> tuple[KeySet, list[str]]:
    """Keys of somebody else's JWKS, and why others of it are passed over (RFC 7517, section 5): it may have keys of any
    kind, for others than us. Raises BadKeys where none is left.
    """
    found, faults = list[Key](), list[str]()
    for entry in _entries(document, source):
        try:
            found.append(_parse_key(entry, source=source))
        except BadKeys as fault:
            faults.append(str(fault))
    if faults and not found:
        raise BadKeys(faults[0])
    return KeySet(tuple(found[:KEYS_MAX])), faults


def _entries(document: Any, source: str) -> list[dict[str, Any]]:
    """Those for signatures."""
    entries = document.get("keys", [document]) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadKeys(f'{source}: write a JWKS, {{"keys": [...]}}')
    return [entry for entry in entries if entry.get("use", "sig") == "sig"]


def key_set(keys: Iterable[Key], *, source: str) -> KeySet:
    """Raises BadKeys for two keys of one kid, or too many."""
    found = tuple(keys)
    if len(found) > KEYS_MAX:
        raise BadKeys(f"{source}: {len(found)} keys; at most {KEYS_MAX} are read")
    named = [key.kid for key in found if key.kid]
    if len(set(named)) < len(named):
        raise BadKeys(f"{source}: two keys have the same kid")
    return KeySet(found)


def _parse_key(entry: dict[str, Any], *, source: str) -> Key:
    kid = entry.get("kid", "")
    name = f"{source}: key {kid or '(without kid)'}"
    expected = ALGORITHM_OF.get((str(entry.get("kty")), str(entry.get("crv", ""))))
    if expected is None or entry.get("alg", expected) != expected or not isinstance(kid, str):
        raise BadKeys(f"{name}: use HS256 (oct), RS256 (RSA), ES256 (EC P-256) or EdDSA (OKP Ed25519)")
    try:
        material = PyJWK({**entry, "alg": expected}).key
    except (PyJWTError, KeyError, TypeError, ValueError) as error:
        raise BadKeys(f"{name}: cannot be read as a JWK") from error
    verifier = material.public_key() if hasattr(material, "public_key") else material
    _assert_strong(verifier, name)
    return Key(kid, expected, verifier)


def _assert_strong(verifier: Any, name: str) -> None:
    if isinstance(verifier, bytes) and len(verifier) < HS256_KEY_MIN:
        raise BadKeys(f"{name}: an HS256 secret needs at least {HS256_KEY_MIN} bytes")
    if getattr(verifier, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN and hasattr(verifier, "encrypt"):
        raise BadKeys(f"{name}: an RSA key needs at least {RSA_BITS_MIN} bits")
