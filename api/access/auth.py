"""Who calls: JWTs verified by PyJWT, remembered by their hash until they expire or the keys change.

Owns what a token must say. Never trusts the token's own word on how to verify it, never logs one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

import jwt
import msgspec

from api.access.keys import KeySet
from api.http.heads import Head
from api.port import KeySource
from domain.context import DEFAULT_REALM, Caller
from domain.errors import MsgxcError, Unauthenticated
from domain.text.number import number

CACHE_MAX = 20_000
"""Verified tokens remembered: about 10 MB. Verifying one costs 30-150 us, remembering one a microsecond."""
TOKEN_BYTES_MAX = 8_192
"""Longer ones are refused unread: a head may have eight times that (api.http.bounded)."""
NAME_MAX = 256
"""Characters of a uid."""
REALM = re.compile(r"[A-Za-z0-9._-]{1,64}")
ROLES_MAX = 64
SHOPS_MAX = 200
APPS_MAX = 200
"""Shops one token names: as many as fit into TOKEN_BYTES_MAX."""


class Identity(msgspec.Struct, frozen=True):
    """A verified token. expires_at_s: its exp, seconds since 1970. key: for counters; "" is not counted.

    What a route's own `admit` has to say besides: visitor: what else it has learnt of who calls; refusal: why they are
    refused, though it is known who they are; then: what is to be done before the call itself, once all of it was read.
    """

    caller: Caller
    expires_at_s: float
    key: str
    visitor: Any = None
    refusal: MsgxcError | None = None
    then: Callable[[Any], Awaitable[None]] | None = None


class Verifier:
    """Tokens in, identities out. now_s: seconds since 1970. audience: what `aud` must name, if anything."""

    def __init__(self, keys: KeySource, *, now_s: Callable[[], float], audience: str | None = None) -> None:
        self._source, self._now_s, self._audience = keys, now_s, audience
        self._keys: KeySet = keys.current()
        self._known: dict[bytes, Identity] = {}

    def verify(self, token: str) -> Identity:
        """Raises Unauthenticated, saying what to mend."""
        keys = self._source.current()
        if keys is not self._keys:
            # Any change may be a revocation: every token is verified anew.
            self._keys, self._known = keys, {}
        digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        known = self._known.get(digest)
        if known is not None:
            if known.expires_at_s > self._now_s():
                return known
            del self._known[digest]
            raise Unauthenticated("the token has expired; get a new one")
        identity = self._verify(token, keys, digest.hex()[:32])
        if len(self._known) >= CACHE_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = identity
        return identity

    def of_head(self, head: Head) -> Identity:
        """Of a request's Authorization. Raises Unauthenticated, saying what to mend.

        Hot path: remembered with the head until the token ends or the keys change.
        """
        known: tuple[KeySet, Identity] | None = head.known.get(self)
        if known is not None and known[0] is self._source.current() and known[1].expires_at_s > self._now_s():
            return known[1]
        identity = self.verify(token_of(head.by_name.get(b"authorization")))
        head.known[self] = (self._keys, identity)
        return identity

    @property
    def generation(self) -> KeySet:
        """Changes when tokens verified before may have lost their worth."""
        return self._source.current()

    def _verify(self, token: str, keys: KeySet, key_name: str) -> Identity:
        claims = self._claims(token, keys)
        expires_at_s = number(claims["exp"])
        if expires_at_s is None:
            raise Unauthenticated("the token's exp must be a number")
        return Identity(caller_of(claims), float(int(expires_at_s)), key_name)

    def _claims(self, token: str, keys: KeySet) -> dict[str, Any]:
        if len(token) > TOKEN_BYTES_MAX:
            raise Unauthenticated(f"a token has at most {TOKEN_BYTES_MAX:,} bytes")
        if token.lstrip().startswith("{"):
            raise Unauthenticated("ajwt claims are not accepted; send a JWT (docs/adr/0010-no-ajwt.md)")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, TypeError, ValueError):
            raise Unauthenticated("the token is no JWT of three parts") from None
        key = keys.find(str(header.get("alg")), header.get("kid"))
        if key is None:
            raise Unauthenticated("no key of ours fits the token's alg and kid")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.verifier,
                algorithms=[key.algorithm],
                audience=self._audience,
                options={"require": ["exp"], "verify_aud": self._audience is not None, "verify_sub": False},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; get a new one") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token needs the claim {error.claim}") from None
        except (jwt.PyJWTError, OverflowError, TypeError, ValueError) as error:
            # The latter escape PyJWT for claims such as an infinite exp.
            raise Unauthenticated(_why_not(error)) from None
        return claims


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """Whom a token stands for. Raises Unauthenticated for claims that cannot be."""
    return Caller(
        uid=_name(claims, ("uid", "sub")),
        realm=_realm(claims.get("realm", DEFAULT_REALM)),
        roles=roles_of(claims.get("roles", ())),
        method=claims["method"] if isinstance(claims.get("method"), str) else "",
        shops=shops_of(claims.get("shops", ())),
        apps=apps_of(claims.get("apps", ())),
    )


def _why_not(error: Exception) -> str:
    """Which check a token failed. What the token says is not repeated."""
    match error:
        case jwt.InvalidSignatureError():
            return "the token's signature is not of the key that it names"
        case jwt.ImmatureSignatureError():
            return "the token is not good yet (nbf or iat lies ahead); look at the clocks"
        case jwt.InvalidAudienceError():
            return "the token's aud does not name this exchange"
        case _:
            return "the token cannot be verified: one of its claims is not what it must be"


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The token of the Authorization header among these. Raises Unauthenticated when there is none."""
    return token_of(next((value for name, value in headers if name == b"authorization"), None))


def token_of(authorization: bytes | None) -> str:
    """The token in an Authorization header's value. Raises Unauthenticated when there is none."""
    if authorization is None:
        raise Unauthenticated("send a token as Authorization: Bearer <token>")
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("send the token as Authorization: Bearer <token>")
    return token.strip().decode("latin-1")


def _name(claims: Mapping[str, Any], fields: tuple[str, ...]) -> str:
    for field in fields:
        value = claims.get(field)
        if value is None:
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= NAME_MAX or not value.isprintable():
            raise Unauthenticated(f"the token's {field} must be 1 to {NAME_MAX} printable characters")
        return value
    raise Unauthenticated(f"the token needs one of the claims {', '.join(reversed(fields))}")


def _realm(value: Any) -> str:
    if not isinstance(value, str) or not REALM.fullmatch(value):
        raise Unauthenticated(
            "the token's realm must be 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return value


def roles_of(value: Any) -> frozenset[str]:
    if not isinstance(value, list | tuple) or len(value) > ROLES_MAX:
        raise Unauthenticated("the token's roles must be a list of names")
    if not all(isinstance(role, str) for role in value):
        raise Unauthenticated("the token's roles must be a list of names")
    return frozenset(value)


def apps_of(value: Any) -> frozenset[str]:
    """The claim `apps`: codes of the apps in whose name the caller may send. Raises Unauthenticated."""
    if not isinstance(value, list | tuple) or len(value) > APPS_MAX:
        raise Unauthenticated(f"the token's apps must be a list of at most {APPS_MAX} codes")
    if not all(isinstance(code, str) for code in value):
        raise Unauthenticated("the token's apps must be codes")
    return frozenset(code.casefold() for code in value)


def shops_of(value: Any) -> frozenset[UUID]:
    """The claim `shops`. Raises Unauthenticated."""
    if not isinstance(value, list | tuple) or len(value) > SHOPS_MAX:
        raise Unauthenticated(f"the token's shops must be a list of at most {SHOPS_MAX} UUIDs")
    try:
        return frozenset(UUID(shop) for shop in value)
    except (ValueError, AttributeError, TypeError):
        raise Unauthenticated("the token's shops must be UUIDs") from None
