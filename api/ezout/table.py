"""Every route of the EzOut contract."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as StarletteRoute

from api.ezout import archive, export, publishing, streams
from api.parts import Parts
from api.route import Route

ROUTES: tuple[Route, ...] = (*publishing.ROUTES, *archive.ROUTES)
SOCKETS: tuple[Route, ...] = (streams.ROUTE_OF_SOCKET,)
PUBLISH_HEAD, PUBLISH_NAME = "/publish", "shop_id"
PUBLISH_PATH = f"{PUBLISH_HEAD}/{{{PUBLISH_NAME}}}"
"""The hot path, and what stands before and in its last part."""
DESCRIBED: tuple[Route, ...] = (*ROUTES, export.ROUTE_OF_EXPORT, streams.ROUTE_OF_EVENTS)


def live_routes(parts: Parts) -> Sequence[BaseRoute]:
    """What is served raw."""
    if parts.shops is None:
        return ()
    return (
        WebSocketRoute(streams.SOCKET_PATH, streams.SocketEndpoint(parts)),
        StarletteRoute(export.EXPORT_PATH, export.ExportEndpoint(parts)),
        StarletteRoute(streams.EVENTS_PATH, streams.EventsEndpoint(parts)),
    )
