"""uvicorn's web-socket protocol, opened up: the application gets the connection itself, for writes without awaiting.

Serve with `uvicorn.Config(app, **OPTIONS)`. Builds on WebSocketsSansIOProtocol of the uvicorn that uv.lock pins; the
tests of this module say what it relies on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.http.lane import Lane

EXTENSION: Final = "msgxc.connection"
"""Where the application finds its SocketConnection in scope["extensions"]."""

BUFFER_BYTES_MAX = 256 * 1024
"""Unsent bytes of one socket before it counts as full; a few hundred frames, 25 MB for a hundred slow sockets."""
FRAME_BYTES_MAX = 64 * 1024
"""Of what a client sends: the longest frame of the contract is a token with a few ids."""
PING_S = 25.0
"""Under the 30-60 s after which proxies and phones' networks forget a silent connection."""
PONG_S = 20.0
CLOSE_S_MAX = 10.0
"""Until a peer that does not answer our close is dropped."""


class SocketConnection:
    """One web socket, as api.sockets.follower.Connection asks for it. on_full: called when the buffer has filled up."""

    def __init__(self, protocol: FanoutProtocol) -> None:
        self._protocol = protocol
        self.on_full: Callable[[], None] | None = None

    @property
    def is_full(self) -> bool:
        return not self._protocol.writable.is_set()

    @property
    def is_open(self) -> bool:
        protocol = self._protocol
        return protocol.handshake_complete and not protocol.close_sent and not protocol.disconnected

    def write(self, data: bytes) -> None:
        protocol = self._protocol
        # Hot path: `is_open`, without the call of a property for each frame of each socket.
        if protocol.handshake_complete and not protocol.close_sent and not protocol.disconnected:
            protocol.transport.write(data)

    async def drained(self) -> None:
        await self._protocol.writable.wait()

    def close(self, code: int, reason: str) -> None:
        if self.is_open:
            self._protocol.close(code, reason)


class FanoutProtocol(WebSocketsSansIOProtocol):
    """Tells the application when its buffer fills up, and lets it write frames that are encoded already."""

    connection: SocketConnection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application's task exists, but has not run yet.
            self.connection = SocketConnection(self)
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self.connection

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.connection is not None and self.connection.on_full is not None:
            self.connection.on_full()

    def close(self, code: int, reason: str) -> None:
        """What is buffered goes out first; the application sees a disconnect."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_S_MAX, self.transport.abort)


OPTIONS: Final[dict[str, Any]] = {
    "http": Lane,
    "ws": FanoutProtocol,
    "ws_max_size": FRAME_BYTES_MAX,
    "ws_ping_interval": PING_S,
    "ws_ping_timeout": PONG_S,
    "ws_per_message_deflate": False,  # frames are encoded once for all sockets
}
"""What uvicorn.Config needs beside address, loop and logging."""
