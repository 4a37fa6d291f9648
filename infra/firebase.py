"""Firebase over HTTPS: the keys of its ID tokens, and whether a user's tokens were revoked.

Implements api.access.issuers.IssuerKeys, for any issuer with a JWKS, and api.ezout.port.Revocations. Few requests, so
each opens a connection of its own; each has a deadline and follows no redirect. Verifies no token.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from domain.errors import Unavailable
from domain.text.number import whole_number
from gateways.keys.google_token import GoogleToken, TokenRefused, TokenUnavailable

KEYS_URL = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
"""https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library"""
LOOKUP_URL = "https://identitytoolkit.googleapis.com/v1/projects/{project}/accounts:lookup"
TIMEOUT = aiohttp.ClientTimeout(total=5.0)
BODY_BYTES_MAX = 256 * 1024
"""The issuer's document has about 4 KiB."""
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=(\d{1,9})\s*(?:,|$)", re.IGNORECASE)


class JwksKeys:
    """The JWKS at `url`; ca_file: a certificate to trust besides the system's."""

    def __init__(self, url: str, *, ca_file: Path | None = None) -> None:
        self._url, self._tls = url, _tls(ca_file)

    async def fetch(self) -> tuple[bytes, float]:
        """Raises Unavailable."""
        body, headers = await _exchange("GET", self._url, self._tls)
        return body, max_age_s(headers.get("Cache-Control", ""), age=headers.get("Age", ""))


def max_age_s(cache_control: str, *, age: str = "") -> float:
    """For how long an answer may be kept (RFC 9111, sections 5.2.2.1 and 5.1); 0 where it does not say."""
    if "no-store" in cache_control or "no-cache" in cache_control:
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return max(0.0, float(found[1]) - (whole_number(age) or 0)) if found else 0.0


class _User(msgspec.Struct, rename="camel"):
    valid_since: str = "0"
    disabled: bool = False


class _Lookup(msgspec.Struct):
    users: list[_User] = []


class FirebaseRevocations:
    """Asks Identity Toolkit for a user, with a service account of the project."""

    def __init__(
        self, project: str, credentials: Mapping[str, Any], *, url: str = "", ca_file: Path | None = None
    ) -> None:
        self._url, self._tls = url or LOOKUP_URL.format(project=project), _tls(ca_file)
        self._token = GoogleToken(credentials, ca_file=str(ca_file) if ca_file else None)

    async def valid_since_s(self, uid: str) -> float | None:
        """Raises Unavailable."""
        try:
            token = await self._token.get(timeout_s=TIMEOUT.total or 5.0)
        except (TokenRefused, TokenUnavailable) as error:
            raise Unavailable(f"Firebase cannot be asked about revocations: {error}") from None
        body, _ = await _exchange("POST", self._url, self._tls, {"localId": [uid]}, token)
        try:
            users = msgspec.json.decode(body, type=_Lookup).users
            return float(users[0].valid_since) if users and not users[0].disabled else None
        except (msgspec.DecodeError, ValueError):
            raise Unavailable("Firebase's answer cannot be read") from None

    async def aclose(self) -> None:
        await self._token.aclose()


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """A body, which comes in pieces. Raises Unavailable."""
    body = bytearray()
    while piece := await content.readany():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Unavailable("the issuer's answer is too long")
    return bytes(body)


async def _exchange(
    method: str, url: str, tls: ssl.SSLContext, body: Any = None, token: str = ""
) -> tuple[bytes, Mapping[str, str]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(
                method, url, json=body, headers=headers, ssl=tls, allow_redirects=False
            ) as answer,
        ):
            if answer.status != 200:
                raise Unavailable(f"the issuer answers {answer.status}")
            return await _whole(answer.content), answer.headers
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"the issuer does not answer: {type(error).__name__}") from None
