"""uvicorn inside our own event loop: its socket bound beforehand, its signals ours, its end graceful."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from infra.configuration.urls import url_of
from infra.settings import Http, SettingsError
from infra.supervisor import Stop

DRAIN_S: Final = 8
"""Requests under way get this long; sockets are closed with 1012 at once."""

BACKLOG: Final = 2048
"""Connections that may wait while a page of sockets reconnects."""

ACCEPTED_A_TURN: Final = 16
"""In a turn of its loop, uvloop lets one connection in from each socket that it listens on. Where a turn takes a tenth
of a second, because hundreds of others are served in it, a new caller would wait for a turn for each who came before.
"""

KEEP_ALIVE_S: Final = 30

Ready = Callable[[], Awaitable[None]]


def listening_socket(http: Http) -> socket.socket:
    """Bind now, so that a port in use is told before anything starts."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((http.host, http.port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"MSGXC_HTTP_PORT={http.port}: another program listens there; write a free port, or 0 for any"
            ) from error
        if error.errno == errno.EACCES:
            raise SettingsError(
                f"MSGXC_HTTP_PORT={http.port}: only root may listen there; write a port from 1024"
            ) from error
        raise SettingsError(
            f"MSGXC_HTTP_HOST={http.host}: {error.strerror}; write an address of this machine"
        ) from error
    bound.set_inheritable(True)
    return bound


def address(bound: socket.socket) -> str:
    """http://host:port, as a person would call it."""
    host, port = bound.getsockname()[:2]
    named = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return url_of(named, port)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the whole process: `serve` takes them."""
        yield


async def serve_http(
    app: ASGIApp,
    bound: socket.socket,
    stop: Stop,
    *,
    options: Mapping[str, Any],
    ready: Ready,
    drain: Callable[[], None],
) -> None:
    """Serve until `stop`, then stop accepting, finish what is under way and return.

    options: further uvicorn settings. ready: awaited once requests are answered. drain: called at the stop, to send
    away what would not end by itself.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        **options,
    )
    server = _Server(config)
    doors = [bound, *(bound.dup() for _ in range(ACCEPTED_A_TURN - 1))]
    serving = asyncio.ensure_future(server.serve(sockets=doors))
    try:
        await _first(serving, server.up.wait())
        if server.started and not server.should_exit:
            await ready()
        await _first(serving, stop.wait())
    finally:
        drain()
        server.should_exit = True
        await asyncio.wait((serving,))
    serving.result()


async def _first(serving: asyncio.Future[None], other: Coroutine[Any, Any, Any]) -> None:
    """Until the server has ended by itself, or the other thing has happened."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
