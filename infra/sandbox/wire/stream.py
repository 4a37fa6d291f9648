"""One HTTP/2 stream: a request as it comes in, and the way back to its client.

Owns the stream's windows and its end. Its connection is `http2`'s; it never writes to the transport itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING

from infra.sandbox.desk import Answer, Request
from infra.sandbox.wire.frames import END_HEADERS, END_STREAM, Ending, Frame, header_block

if TYPE_CHECKING:
    from infra.sandbox.wire.http2 import Http2

PIECE_GAP_S = 0.01
"""Between the pieces of a body: long enough for each to arrive alone."""

_U32 = struct.Struct(">L")


class Stream:
    """window: what may be sent to the client; granted: what it may send, topped up at half."""

    __slots__ = (
        "_body",
        "_bytes",
        "_connection",
        "_grant_size",
        "_granted",
        "_headers",
        "_out",
        "_piece_bytes",
        "_window",
        "complete",
        "number",
    )

    def __init__(
        self, connection: Http2, number: int, headers: list[tuple[str, str]], window: int, granted: int
    ) -> None:
        self._connection, self.number, self._headers = connection, number, headers
        self._window, self._granted, self._grant_size = window, granted, granted
        self._body, self._bytes = bytearray(), 0
        self._out: memoryview | None = None
        self._piece_bytes = 0
        self.complete = False

    @property
    def held_bytes(self) -> int:
        return len(self._body)

    def collect(self, data: bytes, flow_bytes: int, *, ending: bool) -> bool:
        """Take a piece of the body; False: the client is over its window. flow_bytes: with the padding."""
        self._granted -= flow_bytes
        self._bytes += len(data)
        if len(self._body) <= self._connection.provider.body_bytes_max:
            self._body += data
            self._connection.held_bytes += len(data)
        if self._granted < 0:
            return False
        if not ending and self._granted < self._grant_size // 2:
            step = self._grant_size - self._granted
            self._granted += step
            self._connection.write(Frame.WINDOW_UPDATE, 0, self.number, _U32.pack(step))
        return True

    def is_short(self) -> bool:
        """Whether the body is not what content-length promised."""
        promised = next((value for name, value in self._headers if name == "content-length"), None)
        return promised is not None and promised != str(self._bytes)

    def request(self) -> Request:
        headers: dict[str, str] = {}
        for name, value in self._headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        method, target = headers.pop(":method"), headers.pop(":path")
        headers["host"] = headers.pop(":authority", headers.get("host", ""))
        del headers[":scheme"]
        return Request(method, target, headers, bytes(self._body), self._bytes, time.time())

    def answer(self, answer: Answer) -> None:
        if not self._is_open():
            return
        block = header_block(answer.status, answer.headers)
        if answer.body:
            self._connection.write(Frame.HEADERS, END_HEADERS, self.number, block)
            self._out, self._piece_bytes = memoryview(answer.body), answer.piece_bytes
            self.pump()
        else:
            self._connection.write(Frame.HEADERS, END_HEADERS | END_STREAM, self.number, block)
            self._connection.forget(self.number)

    def hang(self) -> None:
        """Nothing is sent; the stream ends with its connection, or when the client resets it."""

    def reset(self, error: str, *, connection: bool) -> None:
        if connection:
            self._connection.abort()
        elif self._is_open():
            self._connection.reset(self.number, Ending[error])

    def refuse(self) -> None:
        self.reset("REFUSED_STREAM", connection=False)

    def bar(self, *, processed: bool) -> None:
        self._connection.bar(self.number, processed=processed)

    def go_away(self, *, error: str, linger_s: float) -> None:
        self._connection.announce_end(error, linger_s=linger_s)

    def widen(self, step: int) -> None:
        """The client lets us send more (or, by SETTINGS, less)."""
        self._window += step
        if self._window > 0x7FFFFFFF:
            self._connection.reset(self.number, Ending.FLOW_CONTROL_ERROR)
        else:
            self.pump()

    def pump(self) -> None:
        """Send as much of the body as the windows allow; the rest waits for a WINDOW_UPDATE."""
        connection = self._connection
        while self._out and self._is_open():
            room = min(self._window, connection.send_window, connection.peer_frame_bytes)
            size = min(room, len(self._out), self._piece_bytes or room)
            if size <= 0:
                return
            piece, self._out = bytes(self._out[:size]), self._out[size:]
            self._window -= size
            connection.send_window -= size
            connection.write(Frame.DATA, 0 if self._out else END_STREAM, self.number, piece)
            if not self._out:
                connection.forget(self.number)
            elif self._piece_bytes:
                connection.flush()
                asyncio.get_running_loop().call_later(PIECE_GAP_S, self.pump)
                return

    def _is_open(self) -> bool:
        connection = self._connection
        return connection.transport is not None and self.number in connection.streams


def cut_off(transport: asyncio.WriteTransport) -> None:
    """Close with a TCP RST: what a crashed or firewalled peer looks like."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
