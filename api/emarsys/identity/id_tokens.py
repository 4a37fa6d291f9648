"""OpenID Connect id tokens (openIdToken): whom they name, verified with the keys of the issuer that the app names.

Owns what such a token must say (OpenID Connect Core 1.0, section 3.1.3.7), by our clock. Never logs one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt

from api.access.auth import TOKEN_BYTES_MAX
from api.access.issuers import CachedKeys, IssuerKeys
from domain.app_settings import OpenIdIssuer
from domain.errors import Unauthenticated

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Of public keys alone: a secret in a document that everybody can read would be none."""
ISSUERS_MAX = 1_000
"""Whose keys are kept at a time; the one unused for longest is asked anew."""
SKEW_S = 60
"""By which the issuer's clock may be ahead of ours."""
FIELD = "openIdToken"


class IdTokens:
    """keys_at: the keys at an address. now_s: seconds since 1970."""

    def __init__(self, keys_at: Callable[[str], IssuerKeys], *, now_s: Callable[[], float]) -> None:
        self._keys_at, self._now_s = keys_at, now_s
        self._issuers: OrderedDict[str, CachedKeys] = OrderedDict()

    async def subject(self, token: str, of: OpenIdIssuer) -> str:
        """Whom the token names. Raises Unauthenticated, or Unavailable when the issuer cannot be asked."""
        kid, algorithm = _named(token)
        key = await self._issuer(of.jwks_url).find(kid, algorithm)
        if key is None:
            raise Unauthenticated("no key of the issuer fits the id token's kid", field=FIELD)
        try:
            # Times are checked below, by our clock.
            options: Any = {
                "require": ["exp", "iat", "aud", "iss", "sub"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            }
            claims: dict[str, Any] = jwt.decode(
                token,
                key.verifier,
                algorithms=[algorithm],
                audience=of.audiences,
                issuer=of.issuer,
                options=options,
            )
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            raise Unauthenticated("the id token cannot be verified", field=FIELD) from None
        self._assert_timely(claims)
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise Unauthenticated("the id token names nobody", field=FIELD)
        return subject

    def _assert_timely(self, claims: dict[str, Any]) -> None:
        begins_s = claims.get("nbf", claims["iat"])
        if not all(isinstance(each, int | float) for each in (claims["exp"], claims["iat"], begins_s)):
            raise Unauthenticated("the id token's times must be numbers", field=FIELD)
        if claims["exp"] <= self._now_s():
            raise Unauthenticated("the id token has expired", field=FIELD)
        if max(claims["iat"], begins_s) > self._now_s() + SKEW_S:
            raise Unauthenticated("the id token is not good yet", field=FIELD)

    def _issuer(self, url: str) -> CachedKeys:
        keys = self._issuers.get(url)
        if keys is None:
            keys = self._issuers[url] = CachedKeys(self._keys_at(url), now_s=self._now_s)
            if len(self._issuers) > ISSUERS_MAX:
                self._issuers.popitem(last=False)
        self._issuers.move_to_end(url)
        return keys


def _named(token: str) -> tuple[str, str]:
    """The key and the algorithm that a token names."""
    if len(token) > TOKEN_BYTES_MAX:
        raise Unauthenticated(f"an id token has at most {TOKEN_BYTES_MAX:,} bytes", field=FIELD)
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthenticated("the id token cannot be read", field=FIELD) from None
    kid, algorithm = header.get("kid"), header.get("alg")
    if algorithm not in ALGORITHMS or not isinstance(kid, str) or not kid:
        raise Unauthenticated(
            f"an id token is signed with {', '.join(ALGORITHMS)} and names its key (kid)", field=FIELD
        )
    return kid, algorithm
