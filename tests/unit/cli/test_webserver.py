"""uvicorn as we run it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import uvloop
from starlette.types import Receive, Scope, Send

from cli.serve.webserver import ACCEPTED_A_TURN, listening_socket, serve_http
from infra.settings import Http
from infra.supervisor import Stop

TURNS_MAX = 6
"""From the first that is answered to the last: some for reading and answering, none for letting in."""


def test_callers_that_come_together_are_let_in_together() -> None:
    """However long a turn of the loop takes, nobody waits for a turn for each who came before."""
    assert uvloop.run(turns_between_first_and_last(ACCEPTED_A_TURN)) <= TURNS_MAX


async def turns_between_first_and_last(callers: int) -> int:
    """Of the loop, for callers who are all connected, and have asked, before it looks."""
    loop, stop, seen, turn = asyncio.get_running_loop(), Stop(), list[int](), 0
    bound = listening_socket(Http("127.0.0.1", 0, "http://127.0.0.1", (), 60))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for said in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{said}.complete"})
            return
        seen.append(turn)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def count() -> None:
        nonlocal turn
        turn += 1
        if len(seen) < callers:
            loop.call_soon(count)
        else:
            stop.set()

    async def ready() -> None:
        for _ in range(callers):
            caller = opened.enter_context(socket.create_connection(bound.getsockname()))
            caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        count()

    with ExitStack() as opened:
        async with asyncio.timeout(20):
            await serve_http(app, bound, stop, options={}, ready=ready, drain=lambda: None)
    return seen[-1] - seen[0]
