"""How the API is put together: routes of every contract, one frame around them, the live hub beside them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from inspect import markcoroutinefunction
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.about import docs, health
from api.addresses import PREFIXES, Addresses, nothing_there
from api.doppler import table as web_domains
from api.emarsys.dialect import V4
from api.endpoint import PathEndpoint, refuse_in
from api.ezout import table as shops
from api.frame import Frame
from api.freshness import RecentWrites
from api.http.heads import HEAD, head_of
from api.http.problem import MethodNotAllowed
from api.msgxc import socket, stream
from api.parts import Parts
from api.route import Dialect, Route
from api.sockets.live import Live
from api.table import ROUTES
from domain.errors import MsgxcError

log = structlog.get_logger("msgxc.api")

OPEN_TO_PAGES = ("/v3", "/v4", "/v5", "/embedded-messaging")
"""What SDKs call from the pages of whoever uses them."""

DIALECTS: tuple[tuple[str, Dialect], ...] = tuple(
    (prefix, V4()) for prefix in ("/v4/", "/v5/", "/embedded-messaging/")
)
"""How the contracts below these paths are refused what no route of theirs was asked for."""

_APP = "{app}"


def build(parts: Parts) -> Starlette:
    """The ASGI application. Its lifespan runs the hub; serve it by uvicorn with api.sockets.protocol.OPTIONS.

    app.state.live: drain() it before the server stops, so that open connections go on elsewhere.
    """
    live = Live(parts)
    recent = RecentWrites(parts.events, parts.watermark, now_s=parts.now_s)
    exact, patterns = _paths(all_routes(parts, live), parts, recent)
    app = Application(
        exact,
        {route.path: route.app for route in patterns if _is_of_app(route)},
        Addresses({route.path: route.app for route in patterns}),
        next((route.app for route in patterns if route.path == shops.PUBLISH_PATH), None),
        Frame(parts, credentialed=(*OPEN_TO_PAGES, *web_domains.PATHS), on_unexpected=_answer_unexpected),
        routes=[
            *patterns,
            WebSocketRoute(socket.PATH, socket.SocketEndpoint(parts, live, recent)),
            StarletteRoute(stream.PATH, stream.StreamEndpoint(parts, live, recent)),
            *shops.live_routes(parts),
            *_mounts(parts),
        ],
        lifespan=_lifespan,
    )
    app.state.live = live
    return app


class Application(Starlette):
    """Starlette, with a short way to exact paths: its router and middleware cost a third of accepting a message.

    of_apps: endpoints by the paths of devices, `/v4/apps/{app}/client/events`, whose third part names an app.
    publish: what tills call.
    """

    def __init__(
        self,
        exact: Mapping[str, ASGIApp],
        of_apps: Mapping[str, ASGIApp],
        addresses: Addresses,
        publish: ASGIApp | None,
        frame: Frame,
        **options: Any,
    ) -> None:
        super().__init__(
            middleware=[Middleware(_Framed, frame=frame)],
            exception_handlers={HTTPException: _refused, Exception: _unexpected},
            **options,
        )
        self.router.redirect_slashes = False
        self._exact, self._of_apps, self._frame = exact, of_apps, frame
        self._addresses = addresses
        self._publish = publish

    @markcoroutinefunction  # it returns one; servers ask
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        # Hot path: what a head means is worked out once, and a coroutine less is around each request.
        if scope["type"] == "http":
            known = (scope.get(HEAD) or head_of(scope)).target.known
            found = known.get(self)
            if found is None:
                found = known[self] = (self._endpoint(scope), scope.get("path_params"))
            endpoint, path_params = found
            if endpoint is not None:
                if path_params is not None:
                    scope["path_params"] = path_params
                return self._frame.direct(endpoint, scope, receive, send)
        return super().__call__(scope, receive, send)

    def _endpoint(self, scope: Scope) -> ASGIApp | None:
        found = self._of_path(scope)
        return found.of(scope["method"]) if isinstance(found, PathEndpoint) else found

    def _of_path(self, scope: Scope) -> ASGIApp | None:
        path: str = scope["path"]
        if b"%" in (scope.get("raw_path") or b"") and path.startswith(PREFIXES):
            found = self._addresses.find(scope)
            if found is not None:
                return found
        found = self._exact.get(path)
        if found is not None:
            return found
        head, _, last = path.rpartition("/")
        if head == shops.PUBLISH_HEAD and last and self._publish is not None:
            scope["path_params"] = {shops.PUBLISH_NAME: last}
            return self._publish
        start = path.find("/", path.find("/", 1) + 1) + 1
        end = path.find("/", start)
        if start < 2 or end <= start:
            return None
        found = self._of_apps.get(f"{path[:start]}{_APP}{path[end:]}")
        if found is not None:
            scope["path_params"] = {"app": path[start:end]}
        return found


async def _answer_unexpected(scope: Scope, send: Send) -> None:
    """As Starlette does beyond the short way; the server logs the error."""
    await refuse_in(_dialect_of(scope["path"]), scope, send, _unexpected_error())


class _Framed:
    """The frame as a middleware, around what Starlette's router leads to."""

    def __init__(self, app: ASGIApp, frame: Frame) -> None:
        self._app, self._frame = app, frame

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._frame.wrapped(self._app, scope, receive, send)
            return
        if scope["type"] == "websocket":
            self._frame.open(scope)
        await self._app(scope, receive, send)


def all_routes(parts: Parts, live: Live) -> tuple[Route, ...]:
    """What is served by PathEndpoint, the routes about the process itself included."""
    operation = health.routes(live)
    shops_described = shops.DESCRIBED if parts.shops else ()
    domains_described = web_domains.ROUTES if parts.domains else ()
    described = (*ROUTES, *shops_described, *domains_described, stream.ROUTE_OF_STREAM, *operation)
    ours = (*web_domains.ROUTES, *ROUTES) if parts.domains else ROUTES
    served = (*shops.ROUTES, *ours) if parts.shops else ours
    home = "/docs" if parts.sandbox is None else "/sandbox/"
    sockets = (socket.ROUTE_OF_SOCKET, *(shops.SOCKETS if parts.shops else ()))
    own = docs.routes(described, version=parts.settings.version, sockets=sockets, home=home)
    return (*served, *operation, *own)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """Run the hub as long as the application is up. If it breaks, /livez says so, and the log why."""
    live: Live = app.state.live
    running = asyncio.create_task(live.run(), name="live")
    running.add_done_callback(_say_why)
    try:
        yield
    finally:
        live.drain()
        running.cancel()
        await asyncio.wait((running,))


def _say_why(ended: asyncio.Task[None]) -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        log.critical("live_hub_broke", exc_info=error)


def _paths(
    routes: Sequence[Route], parts: Parts, recent: RecentWrites
) -> tuple[dict[str, ASGIApp], list[StarletteRoute]]:
    """Endpoints by exact path, and Starlette's routes for paths with parameters."""
    by_path: defaultdict[str, list[Route]] = defaultdict(list)
    for route in routes:
        by_path[route.path].append(route)
    endpoints: dict[str, ASGIApp] = {
        path: PathEndpoint(group, parts, recent, dialect=_dialect_of(path)) for path, group in by_path.items()
    }
    patterns = [StarletteRoute(path, endpoint) for path, endpoint in endpoints.items() if "{" in path]
    return {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}, patterns


def _is_of_app(route: StarletteRoute) -> bool:
    """Whether the path has one parameter, its third part: an app."""
    return route.path.count("{") == 1 and route.path.split("/")[3:4] == [_APP]


def _mounts(parts: Parts) -> list[BaseRoute]:
    if parts.sandbox is None:
        return []
    # The page is at /sandbox itself; a Mount takes only what lies below.
    return [StarletteRoute("/sandbox", parts.sandbox), Mount("/sandbox", parts.sandbox)]


def _dialect_of(path: str) -> Dialect | None:
    return next((dialect for prefix, dialect in DIALECTS if path.startswith(prefix)), None)


class _Refusal(Response):
    """A refusal as the response of an exception handler."""

    def __init__(self, error: MsgxcError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_in(_dialect_of(scope["path"]), scope, send, self._error)


def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _Refusal(MethodNotAllowed(("GET",)))
    return _Refusal(nothing_there())


def _unexpected(_request: Request, _error: Exception) -> Response:
    """Starlette answers with this and raises the error again, so that the server logs it once."""
    return _Refusal(_unexpected_error())


def _unexpected_error() -> MsgxcError:
    return MsgxcError("something went wrong on our side; tell us the request_id")
