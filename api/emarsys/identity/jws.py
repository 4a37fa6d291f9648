"""Compact JWS (RFC 7515) as we write it, read as we wrote it.

Owns the three segments. A token's header is compared with the ones that our keys write, never interpreted: so nothing
in it (alg, kid, jwk, jku, crit) can choose how the token is verified, and a token of one kind is none of another
(`typ`, RFC 8725, section 3.11). The payload needs neither `-` nor `_`, so that a browser's `atob` takes it as it is.
"""

from __future__ import annotations

import binascii
import json
import re
from binascii import b2a_base64
from typing import Any

import msgspec

from api.emarsys.port import SigningKey, SigningKeys, SigningKeySet
from domain.errors import Unauthenticated

HEADER_CHARACTERS_MAX = 512
"""A longer header is not ours, and is not even looked at to say why."""

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")

_GREATER, _QUESTION, _TILDE, _DELETE = b">?~\x7f"
"""The ASCII characters whose low six bits are 62 or 63, which base64 may write as + or /."""
_ODD = re.compile("[^ -=@-}]")


class TokenForged(Unauthenticated):
    """Not one of ours, or not as we wrote it."""

    code, title = "token-forged", "A token is not ours"


class TokenKeyUnknown(Unauthenticated):
    """Its key is not known any more: it was removed after a rotation."""

    code, title = "token-key-unknown", "A token's key is gone"


class TokenExpired(Unauthenticated):
    code, title = "token-expired", "A token has expired"


class TokenForeign(Unauthenticated):
    """A good token, of another app, client or merchant."""

    code, title = "token-foreign", "A token is someone else's"


class Jws:
    """Tokens of one kind. kind: their `typ`. name: the header they travel in, for people."""

    def __init__(self, keys: SigningKeys, *, kind: str, name: str, bytes_max: int) -> None:
        self._keys, self._kind, self._name, self._bytes_max = keys, kind, name, bytes_max
        self._known: SigningKeySet | None = None
        self._headers: dict[bytes, SigningKey] = {}
        self._signing_header = b""

    def generation(self) -> SigningKeySet:
        """Another object when what was verified before may have lost its worth."""
        keys = self._keys.current()
        if keys is not self._known:
            self._headers = {self._header(key): key for key in keys.verifying}
            self._signing_header = self._header(keys.signing)
            self._known = keys
        return keys

    def write(self, claims: bytes) -> str:
        """Signed by the key that signs now. claims: a JSON object, as `escaped` makes it."""
        key = self.generation().signing
        # Hot path: a format takes twice as long as this.
        data = b".".join((self._signing_header, b2a_base64(claims, newline=False).rstrip(b"=")))
        return b".".join((data, _base64url(key.sign(data)))).decode()

    def read(self, token: str) -> bytes:
        """The claims of a token that one of our keys signed. Raises TokenForged or TokenKeyUnknown."""
        self.generation()
        if len(token) > self._bytes_max or not token.isascii():
            raise self._forged()
        header, dot, rest = token.encode().partition(b".")
        payload, second_dot, signature = rest.partition(b".")
        key = self._headers.get(header)
        if key is None:
            raise self._stranger(header)
        if not (dot and second_dot):
            raise self._forged()
        proof = self._decoded(signature)
        # The last character of base64 has idle bits: only one form of a signature is the one we wrote.
        if _base64url(proof) != signature or not key.verify(b"%b.%b" % (header, payload), proof):
            raise self._forged()
        return self._decoded(payload)

    def is_current(self, token: str) -> bool:
        """Whether the key that signs now has signed this token, which must be a verified one."""
        self.generation()
        return token.partition(".")[0].encode() == self._signing_header

    def _header(self, key: SigningKey) -> bytes:
        return _base64url(msgspec.json.encode({"alg": key.algorithm, "kid": key.kid, "typ": self._kind}))

    def _decoded(self, segment: bytes) -> bytes:
        try:
            return binascii.a2b_base64(
                segment.translate(_FROM_URL) + b"=" * (-len(segment) % 4), strict_mode=True
            )
        except binascii.Error:
            raise self._forged() from None

    def _forged(self) -> TokenForged:
        return TokenForged(f"{self._name} holds no token of ours", field=self._name)

    def _stranger(self, header: bytes) -> Unauthenticated:
        """What to say of a token whose header is none of ours; only the words depend on what it says."""
        try:
            said: Any = json.loads(self._decoded(header)) if len(header) <= HEADER_CHARACTERS_MAX else None
        except (ValueError, RecursionError, TokenForged):
            said = None
        kids = {key.kid for key in self.generation().verifying}
        match said:
            case {"typ": self._kind, "kid": str(kid), "alg": "HS256" | "ES256" | "EdDSA"} if kid not in kids:
                return TokenKeyUnknown(f"the key of {self._name} is not in use any more", field=self._name)
        return self._forged()


def escaped(claims: bytes) -> bytes:
    """The same JSON in ASCII, and without the few characters that base64 may write as `+` or `/`."""
    # Hot path: five looks for something take a third of the time of one look at each byte.
    if claims.isascii() and not (
        _GREATER in claims or _QUESTION in claims or _TILDE in claims or _DELETE in claims
    ):
        return claims
    return _ODD.sub(_escape, claims.decode()).encode("ascii")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def _base64url(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL)
