"""Around every request: its id, the security and CORS headers, the access log, the metrics.

The outermost of our own code. Logs named events with the route's pattern, never a path (it may hold a uid), a query,
a body or a token.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.endpoint import REQUEST_ID, ROUTE, respond
from api.parts import Parts
from api.route import Header

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
_SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_EXPOSED = b"Location, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"
_METHODS = b"GET, POST, PUT, DELETE, HEAD, OPTIONS"
_PREFLIGHT_S = b"86400"

ADDED = "msgxc.added_headers"

log = structlog.get_logger("msgxc.api")


class Frame:
    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app, self._metrics = app, parts.metrics
        self._access_log = parts.settings.access_log
        self._origins = frozenset(origin.encode() for origin in parts.settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        origin = self._read_headers(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        scope[ADDED] = added = self._headers_for(scope, origin)
        began_s, status = time.perf_counter(), 500

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = with_defaults(message.get("headers", ()), added)
            await send(message)

        try:
            if origin and _is_preflight(scope):
                await respond(send_framed, 204, [], b"")
            else:
                await self._app(scope, receive, send_framed)
        finally:
            self._note(scope, status, time.perf_counter() - began_s)

    def _read_headers(self, scope: Scope) -> bytes:
        """Put the request's id into the scope; the origin that may read the answer, if any."""
        request_id = origin = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value
            elif name == b"origin" and self._may_read(value):
                origin = value
        scope[REQUEST_ID] = request_id.decode("ascii") or secrets.token_hex(16)
        return origin

    def _may_read(self, origin: bytes) -> bool:
        return b"*" in self._origins or origin in self._origins

    def _headers_for(self, scope: Scope, origin: bytes) -> list[Header]:
        added = [*_SECURITY, (b"x-request-id", scope[REQUEST_ID].encode())]
        if self._origins:
            added.append((b"vary", b"Origin"))
        if origin:
            added.append((b"access-control-allow-origin", origin))
            added.append((b"access-control-expose-headers", _EXPOSED))
            if _is_preflight(scope):
                added.append((b"access-control-allow-methods", _METHODS))
                added.append((b"access-control-allow-headers", _requested_headers(scope)))
                added.append((b"access-control-max-age", _PREFLIGHT_S))
        return added

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], scope.get(ROUTE, "(none)")
        self._metrics.note_request(method if route != "(none)" else "(any)", route, status, seconds)
        if self._access_log == "all" or (self._access_log == "failures" and status >= 400):
            log.info(
                "http_request",
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 2),
                request_id=scope[REQUEST_ID],
            )


def added_headers(scope: Scope) -> list[Header]:
    """What the frame adds; for answers that are given outside of it, after an unexpected error."""
    return list(scope.get(ADDED, ()))


def with_defaults(headers: Iterable[Header], added: Iterable[Header]) -> list[Header]:
    """The answer's own headers win over those we would add."""
    own = list(headers)
    names = {name for name, _ in own}
    own.extend(header for header in added if header[0] not in names)
    return own


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _requested_headers(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"access-control-request-headers":
            return bytes(value)
    return b"Authorization, Content-Type"
