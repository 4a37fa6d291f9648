"""The reference for sockets: one set of them, and one `send_text` for each subscriber and message."""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

subscribers: set[WebSocket] = set()


async def connect(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive_text()
    subscribers.add(socket)
    await socket.send_text('{"action":"subscribed"}')
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        subscribers.discard(socket)


async def publish(request: Request) -> JSONResponse:
    text = (await request.body()).decode()
    sends = (socket.send_text(text) for socket in list(subscribers))
    await asyncio.gather(*sends, return_exceptions=True)
    return JSONResponse(True)


app = Starlette(
    routes=[WebSocketRoute("/connect/{id}", connect), Route("/publish", publish, methods=["POST"])]
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        ws_per_message_deflate=False,
    )
