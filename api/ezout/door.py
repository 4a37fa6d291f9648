"""Who comes in to the shops: by MSGXC_EZOUT_AUTH nobody is asked, or a token of ours or of Firebase is.

Owns where a token may stand in a request. What a caller may do with a shop is domain.shop's.
"""

from __future__ import annotations

import enum
import math
from typing import Protocol
from urllib.parse import parse_qs

from starlette.types import Scope

from api.access.auth import Identity, Verifier, token_of
from api.ezout.firebase import FirebaseVerifier
from api.http.fields import assert_clear
from api.http.heads import head_of
from domain.context import Caller
from domain.errors import Forbidden, Unauthenticated
from domain.shop import EVERY_SHOP

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
QUERY = "access_token"
"""Where a browser's EventSource and WebSocket put the token: they cannot set a header (RFC 6750, section 2.3)."""


class Auth(enum.Enum):
    NONE = "none"
    JWT = "jwt"
    FIREBASE = "firebase"


class Door(Protocol):
    """Admits callers. Errors: Unauthenticated, Forbidden, Unavailable."""

    async def admit(self, token: str | None, host: str) -> Identity:
        """token: None when the request has none. host: its Host header."""
        ...


class OpenDoor:
    """Everyone, to every shop; on loopback only, for trying things out."""

    identity = Identity(Caller(uid="anyone", roles=frozenset({EVERY_SHOP})), math.inf, "")

    async def admit(self, token: str | None, host: str) -> Identity:
        # A web page can make a browser call loopback under a name of its own; the name gives it away.
        name = host.lower()
        if name and name.rpartition(":")[0] not in LOOPBACK and name not in LOOPBACK:
            raise Forbidden("without authentication only this machine is served; set MSGXC_EZOUT_AUTH")
        return self.identity


class JwtDoor:
    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def admit(self, token: str | None, host: str) -> Identity:
        return self._verifier.verify(_needed(token))


class FirebaseDoor:
    def __init__(self, verifier: FirebaseVerifier) -> None:
        self._verifier = verifier

    async def admit(self, token: str | None, host: str) -> Identity:
        return await self._verifier.verify(_needed(token))


def credentials(scope: Scope, *, in_query: bool = False) -> tuple[str | None, str]:
    """A request's token, None when it has none, and its host.

    Raises Unauthenticated for another scheme, FieldTwice for two tokens.
    """
    # Hot path: the frame has them by name; looking through them twice was 4 % of a publish.
    head = head_of(scope)
    if head.is_odd:
        assert_clear(head, has_body=False)
    headers = head.by_name
    host = headers.get(b"host", b"").decode("latin-1")
    if authorization := headers.get(b"authorization"):
        return token_of(authorization), host
    if in_query:
        given = parse_qs(scope["query_string"].decode("latin-1")).get(QUERY)
        if given:
            return given[-1], host
    return None, host


def _needed(token: str | None) -> str:
    if not token:
        raise Unauthenticated("send a token as Authorization: Bearer <token>")
    return token
