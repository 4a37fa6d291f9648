"""Superusers of the doppler contract: JWTs by RSA keys of the contract's own, whose claim isSU says true.

Issuer and audience are not looked at, the lifetime is; whoever makes tokens may have a clock that is a little ahead.
A token is good in one realm: its claim `realm`, else the default one.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.types import Scope

from api.access.auth import REALM, TOKEN_BYTES_MAX, Identity, token_of
from api.http.heads import BY_NAME
from domain.context import DEFAULT_REALM, Caller
from domain.errors import Forbidden, Unauthenticated
from domain.text.number import number

ALGORITHMS = ["RS256", "RS384", "RS512"]
BITS_MIN = 2048
SKEW_S = 60
"""How far ahead a token's maker may be: .NET's tokens are good from the second on in which they were made (nbf)."""
_XML = re.compile(r"<(Modulus|Exponent)>\s*([A-Za-z0-9+/=\s]+)</\1>")


class BadRsaKey(ValueError):
    """What is no RSA public key; says why, never the key."""


def parse_keys(text: str) -> list[RSAPublicKey]:
    """Public keys from PEM, .NET's XML form or a JWKS. Raises BadRsaKey."""
    try:
        found = _parse(text.strip())
    except (ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
        raise BadRsaKey("write an RSA public key as PEM, as <RSAKeyValue> or as a JWKS") from error
    for key in found:
        if not isinstance(key, RSAPublicKey) or key.key_size < BITS_MIN:
            raise BadRsaKey(f"an RSA key needs at least {BITS_MIN} bits")
    return found


def _parse(text: str) -> list[Any]:
    if text.startswith("{"):
        document = json.loads(text)
        keys = [jwt.PyJWK(entry, algorithm="RS256").key for entry in document.get("keys", [document])]
        return [key if isinstance(key, RSAPublicKey) else key.public_key() for key in keys]
    if text.startswith("<") or "<RSAKeyValue>" in text:
        parts = {name: int.from_bytes(base64.b64decode(value), "big") for name, value in _XML.findall(text)}
        return [RSAPublicNumbers(parts["Exponent"], parts["Modulus"]).public_key()]
    return [load_pem_public_key(text.encode())]


class Superusers:
    """Verifies their tokens. Without keys nobody is one."""

    def __init__(self, keys: Sequence[RSAPublicKey], *, now_s: Callable[[], float] = time.time) -> None:
        self._keys, self._now_s = tuple(keys), now_s

    async def admit(self, scope: Scope) -> Identity:
        """Raises Unauthenticated, Forbidden."""
        token = token_of(scope[BY_NAME].get(b"authorization"))
        claims = self._claims(token)
        if str(claims.get("isSU")).strip().lower() != "true":
            raise Forbidden("this needs a token whose claim isSU is true")
        realm = claims.get("realm", DEFAULT_REALM)
        if not isinstance(realm, str) or not REALM.fullmatch(realm):
            raise Unauthenticated("the token's realm is none")
        expires_at_s = number(claims["exp"])
        if expires_at_s is None:
            raise Unauthenticated("the token's exp must be a number")
        begins_s = number(claims.get("nbf", 0))
        if begins_s is None or begins_s > self._now_s() + SKEW_S:
            raise Unauthenticated("the token is not good yet")
        uid = claims.get("sub") or claims.get("unique_name") or "superuser"
        return Identity(Caller(uid=str(uid)[:256], realm=realm), expires_at_s, "")

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_BYTES_MAX:
            raise Unauthenticated(f"a token has at most {TOKEN_BYTES_MAX:,} bytes")
        for key in self._keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=ALGORITHMS,
                    options={
                        "require": ["exp"],
                        "verify_aud": False,
                        "verify_iss": False,
                        "verify_sub": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, OverflowError, TypeError, ValueError):
                raise Unauthenticated("the token has expired or cannot be verified") from None
            return claims
        if not self._keys:
            raise Unauthenticated("there are no superusers here: MSGXC_DOPPLER_KEYS is not set")
        raise Unauthenticated("no key of ours has signed this token")
