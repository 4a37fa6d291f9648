"""How the API is put together: routes of every contract, one frame around them, the live hub beside them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from api import docs, health
from api.endpoint import PathEndpoint, refuse
from api.ezout import table as shops
from api.frame import Frame, added_headers
from api.freshness import RecentWrites
from api.msgxc import socket, stream
from api.parts import Parts
from api.problem import MethodNotAllowed
from api.route import Header, Route
from api.sockets.live import Live
from api.table import ROUTES
from domain.errors import MsgxcError, NotFound

log = structlog.get_logger("msgxc.api")


def build(parts: Parts) -> Starlette:
    """The ASGI application. Its lifespan runs the hub; serve it by uvicorn with api.sockets.protocol.OPTIONS.

    app.state.live: drain() it before the server stops, so that open connections go on elsewhere.
    """
    live = Live(parts)
    recent = RecentWrites(parts.events, parts.watermark, now_s=parts.now_s)
    app = Starlette(
        routes=[
            *_paths(all_routes(parts, live), parts, recent),
            WebSocketRoute(socket.PATH, socket.SocketEndpoint(parts, live, recent)),
            StarletteRoute(stream.PATH, stream.StreamEndpoint(parts, live, recent)),
            *shops.live_routes(parts),
            *_mounts(parts),
        ],
        middleware=[Middleware(Frame, parts=parts)],
        exception_handlers={HTTPException: _refused, Exception: _unexpected},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.live = live
    return app


def all_routes(parts: Parts, live: Live) -> tuple[Route, ...]:
    """What is served by PathEndpoint, the routes about the process itself included."""
    operation = health.routes(live)
    shops_described = shops.DESCRIBED if parts.shops else ()
    described = (*ROUTES, *shops_described, stream.ROUTE_OF_STREAM, *operation)
    served = (*shops.ROUTES, *ROUTES) if parts.shops else ROUTES
    return (*served, *operation, *docs.routes(described, version=parts.settings.version))


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


def _paths(routes: Sequence[Route], parts: Parts, recent: RecentWrites) -> list[BaseRoute]:
    """One Starlette route per path, in the order of the table: the hot ones come first."""
    by_path: defaultdict[str, list[Route]] = defaultdict(list)
    for route in routes:
        by_path[route.path].append(route)
    return [StarletteRoute(path, PathEndpoint(group, parts, recent)) for path, group in by_path.items()]


def _mounts(parts: Parts) -> list[BaseRoute]:
    if parts.sandbox is None:
        return []
    # The page is at /sandbox itself; a Mount takes only what lies below.
    return [StarletteRoute("/sandbox", parts.sandbox), Mount("/sandbox", parts.sandbox)]


class _Refusal(Response):
    """A problem as the response of an exception handler."""

    def __init__(self, error: MsgxcError, headers: Sequence[Header] = ()) -> None:
        super().__init__()
        self._error, self._added = error, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(scope, send, self._error, self._added)


def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _Refusal(MethodNotAllowed(("GET",)))
    return _Refusal(NotFound("there is nothing at this address; /docs lists what there is"))


def _unexpected(request: Request, _error: Exception) -> Response:
    """Starlette answers with this, outside the frame, and raises the error again: the server logs it once."""
    error = MsgxcError("something went wrong on our side; tell us the request_id")
    return _Refusal(error, added_headers(request.scope))
