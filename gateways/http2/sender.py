"""The way out of one connection: requests as frames, within what the peer allows, one write per loop tick.

Owns both send windows, the peer's limits and what waits for them. Knows nothing of answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateways.http2 import frames
from gateways.http2.batch import Stream
from gateways.http2.frames import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, ConnectionFault
from gateways.http2.headers import RequestHeaders
from gateways.transport import Header

STREAMS_MAX = 2_000
"""Our own limit: what is in flight is what can become Unknown when a connection breaks."""
WINDOW_DEFAULT = 65_535
CONTROL_REPLIES_MAX = 1_000
"""Acknowledgements owed to a peer that does not read: more is a flood."""


class Sender:
    """write: takes what one loop tick has gathered. paused: the socket takes no more for now."""

    def __init__(self, authority: bytes, constants: Sequence[Header], write: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._headers, self._write = RequestHeaders(authority, constants), write
        self._out: list[bytes] = []
        self._flush_due = False
        self._blocked: dict[int, Stream] = {}  # streams with unsent bodies, oldest first
        self._replies_owed = 0
        self.paused = False
        self.streams_max, self._frame_max = STREAMS_MAX, frames.FRAME_BYTES_MAX
        self.window, self._stream_window = WINDOW_DEFAULT, WINDOW_DEFAULT
        self._whole_body_max = min(self._frame_max, self._stream_window)

    def set_constants(self, constants: Sequence[Header]) -> None:
        self._headers.set_constants(constants)

    def request(self, id: int, stream: Stream, path: bytes, rest: bytes, body: bytes) -> None:
        """A whole request; what the windows do not allow yet follows by itself. rest: its headers but for constants."""
        block = self._headers.block(path, rest)
        head_size, size = len(block), len(body)
        if size <= self._whole_body_max and size <= self.window and head_size <= self._frame_max:
            self.window -= size
            self._out.append(
                frames.pack_head(head_size >> 8, head_size & 255, frames.HEADERS, frames.END_HEADERS, id)
                + block
                + frames.pack_head(size >> 8, size & 255, frames.DATA, frames.END_STREAM, id)
                + body
            )
        else:
            self._out.append(frames.header_block(id, block, self._frame_max))
            stream.unsent, stream.window = body, self._stream_window
            self._blocked[id] = stream
            self._send_unsent(id, stream)
        if not self._flush_due:
            self._flush_soon()

    def control(self, frame: bytes) -> None:
        self._out.append(frame)
        self._flush_soon()

    def reply(self, frame: bytes) -> None:
        """An answer to a control frame; a peer that makes us owe too many is cut off."""
        self._replies_owed += 1
        if self._replies_owed > CONTROL_REPLIES_MAX:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a flood of control frames")
        self.control(frame)

    def forget(self, id: int) -> bool:
        """Send no more of a request. Whether there was more."""
        return self._blocked.pop(id, None) is not None

    def take_rest(self) -> bytes:
        """What has not been written yet; the connection is about to end."""
        rest, self._out = b"".join(self._out), []
        return rest

    # What the peer allows

    def setting(self, key: int, value: int) -> None:
        if key == frames.HEADER_TABLE_SIZE:
            self._headers.limit_table(value)
        elif key == frames.ENABLE_PUSH and value != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "a server that asks for push")
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self.streams_max = min(value, STREAMS_MAX)
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_MAX:
                raise ConnectionFault(FLOW_CONTROL_ERROR, f"an initial window of {value}")
            for stream in self._blocked.values():
                stream.window += value - self._stream_window  # may well become negative (RFC 9113, 6.9.2)
            self._stream_window = value
        elif key == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_MAX <= value < 2**24:
                raise ConnectionFault(PROTOCOL_ERROR, f"a frame size of {value}")
            self._frame_max = value
        self._whole_body_max = min(self._frame_max, self._stream_window)

    def grow_connection(self, increment: int) -> None:
        self.window += increment
        if self.window > frames.WINDOW_MAX:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "a window beyond its maximum")
        self.send_unsent()

    def grow_stream(self, id: int, increment: int) -> bool:
        """False when the window is beyond its maximum, which ends the stream. A stream with nothing unsent has none."""
        stream = self._blocked.get(id)
        if stream is None:
            return increment <= frames.WINDOW_MAX
        stream.window += increment
        if stream.window > frames.WINDOW_MAX:
            return False
        self._send_unsent(id, stream)
        self._flush_soon()
        return True

    def send_unsent(self) -> None:
        """Go on with unfinished bodies, oldest first."""
        for id, stream in list(self._blocked.items()):
            self._send_unsent(id, stream)
        self._flush_soon()

    def _send_unsent(self, id: int, stream: Stream) -> None:
        while True:
            size = min(len(stream.unsent), self.window, stream.window, self._frame_max)
            if size <= 0 and stream.unsent:
                return
            piece, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self.window -= size
            stream.window -= size
            self._out.append(frames.frame(frames.DATA, 0 if stream.unsent else frames.END_STREAM, id, piece))
            if not stream.unsent:
                del self._blocked[id]
                return

    # The socket

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._out:
            self._write(self.take_rest())
        if not self.paused:
            self._replies_owed = 0
