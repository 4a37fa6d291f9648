"""How the API is put together: routes of every contract, one frame around them, the live hub beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from api.endpoint import PathEndpoint, refuse
from api.frame import Frame
from api.freshness import OwnWrites
from api.parts import Parts
from api.route import Route
from api.table import ROUTES
from domain.errors import MsgxcError, NotFound


def build(parts: Parts) -> Starlette:
    """The ASGI application. Its lifespan runs the hub; serve it by uvicorn with api.sockets.protocol.OPTIONS."""
    app = Starlette(
        routes=[*_paths(ROUTES, parts), *_mounts(parts)],
        middleware=[Middleware(Frame, parts=parts)],
        exception_handlers={HTTPException: _not_found, Exception: _unexpected},
    )
    app.router.redirect_slashes = False
    return app


def _paths(routes: Sequence[Route], parts: Parts) -> list[BaseRoute]:
    """One Starlette route per path, in the order of the table: the hot ones come first."""
    by_path: defaultdict[str, list[Route]] = defaultdict(list)
    for route in routes:
        by_path[route.path].append(route)
    own_writes = OwnWrites(parts.events, parts.watermark, now_s=parts.now_s)
    return [StarletteRoute(path, PathEndpoint(group, parts, own_writes)) for path, group in by_path.items()]


def _mounts(parts: Parts) -> list[BaseRoute]:
    return [Mount("/sandbox", parts.sandbox)] if parts.sandbox is not None else []


class _Refusal(Response):
    """A problem as the response of an exception handler."""

    def __init__(self, error: MsgxcError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(scope, send, self._error)


def _not_found(_request: Request, _error: Exception) -> Response:
    return _Refusal(NotFound("there is nothing at this address; /docs lists what there is"))


def _unexpected(_request: Request, _error: Exception) -> Response:
    """Starlette answers with this and raises the error again, so that the server logs it once."""
    return _Refusal(MsgxcError("something went wrong on our side; tell us the request_id"))
