"""One HTTP/2 connection of a client, over `h2`: requests in, answers out, and every way of failing it.

Owns framing, flow control and the ends of streams. Never judges a request, and never answers before it is told to.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from infra.sandbox.desk import Answer, Desk, Provider, Request

STREAMS_MAX = 1_000
"""As APNs announces: requests of one connection under way at once."""

WINDOW_BYTES = 1 << 20
"""Room for each body and for the connection: no provider takes larger bodies than SendGrid's."""

HEADER_BYTES_MAX = 16_384
PIECE_GAP_S = 0.01
"""Between the pieces of a body: long enough for each to arrive alone."""


class Http2(asyncio.Protocol):
    """Speaks HTTP/2 for one provider. closed: called once, when the connection has ended."""

    def __init__(self, provider: Provider, desk: Desk, closed: Callable[[asyncio.Protocol], None]) -> None:
        self.provider, self.desk, self._closed = provider, desk, closed
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.state = h2.connection.H2Connection(config)
        self.transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._final_stream: int | None = None
        self._flush_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        codes = h2.settings.SettingCodes
        self.state.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                codes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                codes.MAX_HEADER_LIST_SIZE: HEADER_BYTES_MAX,
            },
        )
        self.state.initiate_connection()
        self.state.increment_flow_control_window(WINDOW_BYTES)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._streams.clear()
        self._closed(self)

    def pause_writing(self) -> None:
        # A client that doesn't read its answers gets to send no more requests.
        if self.transport:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.state.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.close()
            return
        for event in events:
            self._take(event)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Gather what one tick of the loop makes into one write."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._flush_due = False
        data = self.state.data_to_send()
        if data and self.transport:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def abort(self) -> None:
        """TCP reset."""
        if self.transport:
            cut_off(self.transport)

    def announce_end(self, last_stream: int, error: str, *, linger_s: float) -> None:
        """GOAWAY by hand: the state machine would refuse to answer the streams that are still allowed."""
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=h2.errors.ErrorCodes[error])
        self._final_stream = last_stream
        self.flush()
        if self.transport:
            self.transport.write(frame.serialize())
            asyncio.get_running_loop().call_later(linger_s, self.close)

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    def _take(self, event: h2.events.Event) -> None:  # noqa: C901  one case per event
        match event:
            case h2.events.RequestReceived():
                if self._final_stream is None or event.stream_id <= self._final_stream:
                    # header_encoding is set, so they are text.
                    headers = cast("list[tuple[str, str]]", event.headers)
                    self._streams[event.stream_id] = Stream(self, event.stream_id, headers)
            case h2.events.DataReceived():
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if stream := self._streams.get(event.stream_id):
                    stream.collect(event.data)
            case h2.events.StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    self.desk.receive(self.provider, stream.request(), stream)
            case h2.events.StreamReset():
                self.forget(event.stream_id)
            case h2.events.WindowUpdated():
                for stream in self._streams_with_room(event.stream_id):
                    stream.pump()
            case h2.events.ConnectionTerminated():
                self.flush()
                self.close()
            case _:
                pass

    def _streams_with_room(self, number: int) -> list[Stream]:
        if number == 0:
            return list(self._streams.values())
        return [self._streams[number]] if number in self._streams else []


class Stream:
    """One request and the way back to its client."""

    __slots__ = ("_body", "_bytes", "_connection", "_headers", "_number", "_out", "_piece_bytes")

    def __init__(self, connection: Http2, number: int, headers: list[tuple[str, str]]) -> None:
        self._connection, self._number, self._headers = connection, number, headers
        self._body, self._bytes = bytearray(), 0
        self._out: memoryview | None = None
        self._piece_bytes = 0

    def collect(self, data: bytes) -> None:
        self._bytes += len(data)
        if len(self._body) <= self._connection.provider.body_bytes_max:
            self._body += data

    def request(self) -> Request:
        headers: dict[str, str] = {}
        for name, value in self._headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        method, target = headers.pop(":method", ""), headers.pop(":path", "")
        headers["host"] = headers.pop(":authority", headers.get("host", ""))
        headers.pop(":scheme", None)
        return Request(method, target, headers, bytes(self._body), self._bytes, time.time())

    def answer(self, answer: Answer) -> None:
        if not self._is_open():
            return
        headers = [(":status", str(answer.status)), *answer.headers]
        self._connection.state.send_headers(self._number, headers, end_stream=not answer.body)
        if answer.body:
            self._out, self._piece_bytes = memoryview(answer.body), answer.piece_bytes
            self.pump()
        else:
            self._connection.forget(self._number)
        self._connection.flush_soon()

    def hang(self) -> None:
        """Nothing is sent; the stream ends with its connection, or when the client resets it."""

    def reset(self, error: str, *, connection: bool) -> None:
        if connection:
            self._connection.abort()
        elif self._is_open():
            self._connection.state.reset_stream(self._number, h2.errors.ErrorCodes[error])
            self._connection.forget(self._number)
            self._connection.flush_soon()

    def refuse(self) -> None:
        self.reset("REFUSED_STREAM", connection=False)

    def go_away(self, *, processed: bool, error: str, linger_s: float) -> None:
        last_stream = self._number if processed else max(0, self._number - 2)
        self._connection.announce_end(last_stream, error, linger_s=linger_s)

    def pump(self) -> None:
        """Send as much of the body as the windows allow; the rest waits for a WINDOW_UPDATE."""
        if self._out is None or not self._is_open():
            return
        state = self._connection.state
        while self._out:
            room = min(state.local_flow_control_window(self._number), state.max_outbound_frame_size)
            size = min(room, len(self._out), self._piece_bytes or room)
            if size <= 0:
                return
            piece, self._out = self._out[:size], self._out[size:]
            state.send_data(self._number, bytes(piece), end_stream=not self._out)
            if self._piece_bytes and self._out:
                self._connection.flush()
                asyncio.get_running_loop().call_later(PIECE_GAP_S, self.pump)
                return
        self._connection.forget(self._number)
        self._connection.flush_soon()

    def _is_open(self) -> bool:
        connection = self._connection
        return connection.transport is not None and self._number in connection._streams  # noqa: SLF001


def cut_off(transport: asyncio.WriteTransport) -> None:
    """Close with a TCP RST: what a crashed or firewalled peer looks like."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
