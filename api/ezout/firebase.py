"""Firebase ID tokens: RS256, of one project, verified with the issuer's keys.

Owns what such a token must say, whose keys api.access.issuers keeps
(https://firebase.google.com/docs/auth/admin/verify-id-tokens). Never logs a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jwt

from api.access.auth import CACHE_MAX, TOKEN_BYTES_MAX, Identity, roles_of, shops_of
from api.access.issuers import CachedKeys, IssuerKeys
from api.ezout.port import Revocations
from domain.context import Caller
from domain.errors import Unauthenticated
from domain.text.number import number

SKEW_S = 60
"""By which the issuer's clock may be ahead of ours."""
REVOCATION_S = 60.0
"""How long the answer about one user's revocations is kept."""
SUB_MAX = 128
REQUIRED = ["exp", "iat", "aud", "iss", "sub", "auth_time"]


class FirebaseVerifier:
    """Tokens of `project` in, identities out. revocations None: a token counts until it expires (an hour)."""

    def __init__(
        self,
        keys: IssuerKeys,
        *,
        project: str,
        now_s: Callable[[], float],
        revocations: Revocations | None = None,
    ) -> None:
        self._keys, self._project, self._now_s = CachedKeys(keys, now_s=now_s), project, now_s
        self._issuer = f"https://securetoken.google.com/{project}"
        self._revocations = revocations
        self._known: dict[bytes, tuple[Identity, float]] = {}
        self._known_of = self._keys.keys
        self._valid_since: dict[str, tuple[float | None, float]] = {}

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated, saying what to mend; Unavailable when the issuer cannot be asked."""
        kid = _kid(token)
        key = await self._keys.find(kid)
        if key is None:
            raise Unauthenticated("no key of the issuer fits the token's kid")
        if self._keys.keys is not self._known_of:
            self._known, self._known_of = {}, self._keys.keys
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None or known[0].expires_at_s <= self._now_s():
            known = self._verify(token, key.verifier, digest.hex()[:32])
            if len(self._known) >= CACHE_MAX:
                del self._known[next(iter(self._known))]
            self._known[digest] = known
        identity, auth_time_s = known
        await self._assert_not_revoked(identity, auth_time_s)
        return identity

    def _verify(self, token: str, key: Any, name: str) -> tuple[Identity, float]:
        claims = self._claims(token, key)
        uid, auth_time_s = claims["sub"], number(claims["auth_time"])
        if not isinstance(uid, str) or not 1 <= len(uid) <= SUB_MAX or not uid.isprintable():
            raise Unauthenticated(f"the token's sub must be 1 to {SUB_MAX} printable characters")
        if auth_time_s is None or auth_time_s > self._now_s() + SKEW_S:
            raise Unauthenticated("the token's auth_time must lie in the past")
        caller = Caller(
            uid=uid, roles=roles_of(claims.get("roles", ())), shops=shops_of(claims.get("shops", ()))
        )
        return Identity(caller, float(claims["exp"]), name), auth_time_s

    def _claims(self, token: str, key: Any) -> dict[str, Any]:
        try:
            # Times are checked below, by our clock.
            options: Any = {
                "require": REQUIRED,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            }
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=["RS256"], audience=self._project, issuer=self._issuer, options=options
            )
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token needs the claim {error.claim}") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise Unauthenticated("the token is of another Firebase project") from None
        except (jwt.PyJWTError, OverflowError, TypeError, ValueError, RecursionError):
            raise Unauthenticated("the token cannot be verified") from None
        if any(number(claims[name]) is None for name in ("exp", "iat")):
            raise Unauthenticated("the token's exp and iat must be numbers")
        if claims["exp"] <= self._now_s():
            raise Unauthenticated("the token has expired; get a new one")
        if claims["iat"] > self._now_s() + SKEW_S:
            raise Unauthenticated("the token was issued in the future")
        return claims

    async def _assert_not_revoked(self, identity: Identity, auth_time_s: float) -> None:
        if self._revocations is None:
            return
        uid = identity.caller.uid
        valid_since_s, until_s = self._valid_since.get(uid, (None, 0.0))
        if self._now_s() >= until_s:
            valid_since_s = await self._revocations.valid_since_s(uid)
            if len(self._valid_since) >= CACHE_MAX:
                del self._valid_since[next(iter(self._valid_since))]
            self._valid_since[uid] = (valid_since_s, self._now_s() + REVOCATION_S)
        if valid_since_s is None or auth_time_s < valid_since_s:
            raise Unauthenticated("the token has been revoked; sign in again")


def _kid(token: str) -> str:
    if len(token) > TOKEN_BYTES_MAX:
        raise Unauthenticated(f"a token has at most {TOKEN_BYTES_MAX:,} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthenticated("the token cannot be read") from None
    kid = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(kid, str) or not kid:
        raise Unauthenticated("a Firebase ID token is signed with RS256 and names its key (kid)")
    return kid
