"""Around every request: its id, the security and CORS headers, the access log, the metrics.

The outermost of our own code. Logs named events with the route's pattern, never a path (it may hold a uid), a query,
a body or a token.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.endpoint import ADDED, REQUEST_ID, ROUTE, STATUS, respond, without
from api.http.heads import HEAD, Head, head_of
from api.http.security import SECURITY
from api.parts import Parts
from api.route import Header

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")
_EXPOSED = b"Location, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"
_EXPOSED_OF_DEVICES = (
    b"X-Client-State, EC-Client-State, ETag, Retry-After, "
    b"X-Rate-Limit-Limit, X-Rate-Limit-Remaining, X-Rate-Limit-Reset, X-Request-Id"
)
_VARY: Header = (b"vary", b"Origin")
_METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_PREFLIGHT_S = b"86400"

log = structlog.get_logger("msgxc.api")


async def _say_nothing(_scope: Scope, _send: Send) -> None:
    """The server answers for itself."""


class Frame:
    """One for the application. `direct` is for our own endpoints, `wrapped` for whatever else answers.

    credentialed: what lies under these paths, pages of every origin may call, with their credentials. on_unexpected:
    answers where an endpoint broke before it did.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        credentialed: tuple[str, ...] = (),
        on_unexpected: Callable[[Scope, Send], Awaitable[None]] = _say_nothing,
    ) -> None:
        self._credentialed = credentialed
        self._below = tuple(f"{root}/" for root in credentialed)
        self._metrics = parts.metrics
        self._access_log = parts.settings.access_log
        self._another_id = parts.request_id
        self._on_unexpected = on_unexpected
        self._origins = frozenset(origin.encode() for origin in parts.settings.cors_origins)

    async def direct(self, endpoint: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Around an endpoint that answers by api.endpoint.respond, which adds our headers itself."""
        began_s = time.perf_counter()
        try:
            if self.open(scope):
                await respond(scope, send, 204, [], b"")
            else:
                await endpoint(scope, receive, send)
        except Exception:
            if STATUS not in scope:
                await self._on_unexpected(scope, send)
            raise
        finally:
            self._note(scope, time.perf_counter() - began_s)

    async def wrapped(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Around any ASGI application."""

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope[STATUS] = message["status"]
                own = list(message.get("headers", ()))
                message["headers"] = own + without(own, scope[ADDED])
            await send(message)

        began_s = time.perf_counter()
        try:
            if self.open(scope):
                await respond(scope, send, 204, [], b"")
            else:
                await app(scope, receive, send_framed)
        finally:
            self._note(scope, time.perf_counter() - began_s)

    def open(self, scope: Scope) -> bool:
        """Put what the endpoints need into the scope. Whether this is a preflight of CORS, to be answered at once."""
        head: Head = scope.get(HEAD) or head_of(scope)
        by_name, path = head.by_name, head.target.path
        request_id = by_name.get(b"x-request-id", b"")
        if request_id and _REQUEST_ID.fullmatch(request_id):
            scope[REQUEST_ID] = request_id.decode("ascii")
        else:
            scope[REQUEST_ID] = self._another_id()
            request_id = scope[REQUEST_ID].encode()
        added = scope[ADDED] = [*SECURITY, (b"x-request-id", request_id)]
        anyone = path.startswith(self._below) or path in self._credentialed
        if not anyone and not self._origins:
            return False
        added.append(_VARY)
        return b"origin" in by_name and self._allow_origin(head, added, anyone=anyone)

    def _allow_origin(self, head: Head, added: list[Header], *, anyone: bool) -> bool:
        """Let the origins that are set read the answer. Whether this asks only what is allowed."""
        headers = head.by_name
        origin = headers[b"origin"]
        if not (anyone or b"*" in self._origins or origin in self._origins):
            return False
        added.append((b"access-control-allow-origin", origin))
        if anyone:
            added.append((b"access-control-allow-credentials", b"true"))
        added.append((b"access-control-expose-headers", _EXPOSED_OF_DEVICES if anyone else _EXPOSED))
        if head.target.method != "OPTIONS" or b"access-control-request-method" not in headers:
            return False
        asked = headers.get(b"access-control-request-headers", b"Authorization, Content-Type")
        added.append((b"access-control-allow-methods", _METHODS))
        added.append((b"access-control-allow-headers", asked))
        added.append((b"access-control-max-age", _PREFLIGHT_S))
        return True

    def _note(self, scope: Scope, seconds: float) -> None:
        route, status = scope.get(ROUTE), scope.get(STATUS, 500)
        method = scope["method"] if route else "(any)"
        self._metrics.requests.note(method, route or "(none)", status, seconds)
        if self._access_log == "all" or (status >= 400 and self._access_log == "failures"):
            log.info(
                "http_request",
                method=method,
                route=route or "(none)",
                status=status,
                ms=round(seconds * 1000, 2),
                request_id=scope[REQUEST_ID],
            )
