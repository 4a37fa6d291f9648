"""One HTTP/2 connection of a client (RFC 9113): requests in, answers out, and every way of failing it.

Owns framing, the rules a client must keep, and flow control; its streams are in `stream`. Written on `hpack` alone,
since a full state machine costs half a millisecond a request and a broadcast brings thousands a second. Never judges
a request, and never answers before it is told to.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

import hpack

from infra.sandbox.desk import Desk, Provider
from infra.sandbox.wire.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    WITH_PRIORITY,
    Ending,
    Frame,
    Violation,
    header_fault,
    unpadded,
)
from infra.sandbox.wire.stream import Stream, cut_off

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAMS_MAX = 1_000
"""As APNs announces: requests of one connection under way at once."""

FRAME_BYTES_MAX = 16_384
WINDOW_BYTES = 1 << 20
"""Room for each body; topped up as it is read, so that SendGrid's largest fit too."""

CONNECTION_WINDOW_BYTES = 1 << 24
BODY_BYTES_HELD_MAX = 1 << 26
"""Of unfinished requests of one connection; two of SendGrid's largest."""

HEADER_BYTES_MAX = 65_536

_HEADER = struct.Struct(">HBBBL")
_U32 = struct.Struct(">L")
_SETTING = struct.Struct(">HL")


class Http2(asyncio.Protocol):
    """Speaks HTTP/2 for one provider. closed: called once, when the connection has ended."""

    def __init__(self, provider: Provider, desk: Desk, closed: Callable[[asyncio.Protocol], None]) -> None:
        self.provider, self.desk, self._closed = provider, desk, closed
        self.transport: asyncio.Transport | None = None
        self.streams: dict[int, Stream] = {}
        self.send_window = self.peer_window = 65_535
        self.peer_frame_bytes = FRAME_BYTES_MAX
        self.held_bytes = 0
        self._buffer = bytearray()
        self._seen_preface = self._seen_settings = self._flush_due = False
        self._decoder = hpack.Decoder(max_header_list_size=HEADER_BYTES_MAX)
        self._block: tuple[int, int, bytearray] | None = None
        self._highest = self._highest_complete = 0
        self._final_stream: int | None = None
        self._unread = 0
        self._out: list[bytes] = []
        self._takers: dict[int, Callable[[int, int, bytes], None]] = {
            Frame.DATA: self._take_data,
            Frame.HEADERS: self._take_headers,
            Frame.RST_STREAM: self._take_reset,
            Frame.SETTINGS: self._take_settings,
            Frame.PUSH_PROMISE: self._take_push,
            Frame.PING: self._take_ping,
            Frame.GOAWAY: self._take_goaway,
            Frame.WINDOW_UPDATE: self._take_window,
            Frame.CONTINUATION: self._take_continuation,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        settings = ((3, STREAMS_MAX), (4, WINDOW_BYTES), (6, HEADER_BYTES_MAX))
        self.write(Frame.SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in settings))
        self.write(Frame.WINDOW_UPDATE, 0, 0, _U32.pack(CONNECTION_WINDOW_BYTES - 65_535))
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.streams.clear()
        self._closed(self)

    def pause_writing(self) -> None:
        # A client that doesn't read its answers gets to send no more requests.
        if self.transport:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._read_frames()
        except (Violation, hpack.HPACKError) as broken:
            error = broken.error if isinstance(broken, Violation) else Ending.COMPRESSION_ERROR
            self.write(Frame.GOAWAY, 0, 0, _U32.pack(self._highest) + _U32.pack(error) + str(broken).encode())
            self.flush()
            self.close()

    def write(self, kind: Frame, flags: int, number: int, payload: bytes = b"") -> None:
        """One frame, sent with the others of this tick of the loop in one write."""
        size = len(payload)
        self._out.append(_HEADER.pack(size >> 8, size & 255, kind, flags, number) + payload)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._flush_due = False
        if self.transport and self._out:
            self.transport.write(b"".join(self._out))
        self._out.clear()

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def abort(self) -> None:
        """TCP reset."""
        if self.transport:
            cut_off(self.transport)

    def bar(self, number: int, *, processed: bool) -> None:
        """Settle the last stream GOAWAY will name, and take nothing above it.

        This stream or the one before it; but a later one that is already taken cannot be called unprocessed.
        """
        last = number if processed else max(0, number - 2)
        self._final_stream = last if self._highest_complete <= number else self._highest_complete
        for above in [one for one in self.streams if one > self._final_stream and one != number]:
            self.forget(above)

    def announce_end(self, error: str, *, linger_s: float) -> None:
        """GOAWAY; streams up to the last one may still be answered while the connection lingers."""
        assert self._final_stream is not None, "bar comes first"
        self.write(Frame.GOAWAY, 0, 0, _U32.pack(self._final_stream) + _U32.pack(Ending[error]))
        self.flush()
        asyncio.get_running_loop().call_later(linger_s, self.close)

    def reset(self, number: int, error: Ending) -> None:
        self.forget(number)
        self.write(Frame.RST_STREAM, 0, number, _U32.pack(error))

    def forget(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream:
            self.held_bytes -= stream.held_bytes

    def _read_frames(self) -> None:
        buffer, at = self._buffer, 0
        if not self._seen_preface:
            if not PREFACE.startswith(buffer[:24]):
                raise Violation(Ending.PROTOCOL_ERROR, "no HTTP/2 preface")
            if len(buffer) < len(PREFACE):
                return
            self._seen_preface, at = True, len(PREFACE)
        while len(buffer) - at >= 9:
            high, low, kind, flags, number = _HEADER.unpack_from(buffer, at)
            size = high << 8 | low
            if size > FRAME_BYTES_MAX:
                raise Violation(Ending.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if len(buffer) - at < 9 + size:
                break
            payload = bytes(buffer[at + 9 : at + 9 + size])
            at += 9 + size
            self._take(kind, flags, number & 0x7FFFFFFF, payload)
        del buffer[:at]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if not self._seen_settings and kind != Frame.SETTINGS:
            raise Violation(Ending.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        if (self._block is not None) != (kind == Frame.CONTINUATION):
            raise Violation(Ending.PROTOCOL_ERROR, "CONTINUATION is out of place or missing")
        taker = self._takers.get(kind)
        if taker:
            taker(flags, number, payload)

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number % 2:
            raise Violation(Ending.PROTOCOL_ERROR, f"HEADERS on stream {number}")
        if number <= self._highest and number not in self.streams:
            raise Violation(Ending.STREAM_CLOSED, f"HEADERS on closed stream {number}")
        block = unpadded(flags, payload)
        if flags & WITH_PRIORITY:
            block = block[5:]
        if flags & END_HEADERS:
            self._take_block(number, flags, block)
        else:
            self._block = (number, flags, bytearray(block))

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        assert self._block is not None, "checked by _take"
        began, first_flags, block = self._block
        if number != began:
            raise Violation(Ending.PROTOCOL_ERROR, "CONTINUATION on another stream")
        block += payload
        if len(block) > HEADER_BYTES_MAX:
            raise Violation(Ending.ENHANCE_YOUR_CALM, "headers too large")
        if flags & END_HEADERS:
            self._block = None
            self._take_block(number, first_flags, bytes(block))

    def _take_block(self, number: int, flags: int, block: bytes) -> None:
        """Decode in any case: the table is the connection's, whatever becomes of the stream."""
        headers = cast("list[tuple[str, str]]", self._decoder.decode(block))
        if number in self.streams:
            self._take_trailers(number, flags)
            return
        self._highest = number
        if self._final_stream is not None and number > self._final_stream:
            return
        if len(self.streams) >= STREAMS_MAX:
            self.reset(number, Ending.REFUSED_STREAM)
        elif header_fault(headers):
            self.reset(number, Ending.PROTOCOL_ERROR)
        else:
            stream = self.streams[number] = Stream(self, number, headers, self.peer_window, WINDOW_BYTES)
            if flags & END_STREAM:
                self._complete(stream)

    def _take_trailers(self, number: int, flags: int) -> None:
        stream = self.streams[number]
        if stream.complete or not flags & END_STREAM:
            self.reset(number, Ending.PROTOCOL_ERROR)
        else:
            self._complete(stream)

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        if number == 0 or number > self._highest:
            raise Violation(Ending.PROTOCOL_ERROR, f"DATA on stream {number}")
        self._credit(len(payload))
        stream = self.streams.get(number)
        if stream is None:
            return
        if stream.complete:
            self.reset(number, Ending.STREAM_CLOSED)
            return
        if not stream.collect(unpadded(flags, payload), len(payload), ending=bool(flags & END_STREAM)):
            raise Violation(Ending.FLOW_CONTROL_ERROR, f"stream {number} is over its window")
        if self.held_bytes > BODY_BYTES_HELD_MAX:
            raise Violation(Ending.ENHANCE_YOUR_CALM, "too many unfinished bodies")
        if flags & END_STREAM:
            self._complete(stream)

    def _complete(self, stream: Stream) -> None:
        stream.complete = True
        self._highest_complete = max(self._highest_complete, stream.number)
        if stream.is_short():
            self.reset(stream.number, Ending.PROTOCOL_ERROR)
        else:
            self.desk.receive(self.provider, stream.request(), stream)

    def _credit(self, size: int) -> None:
        """Give the connection's window back in large steps."""
        self._unread += size
        if self._unread > CONNECTION_WINDOW_BYTES:
            raise Violation(Ending.FLOW_CONTROL_ERROR, "the connection is over its window")
        if self._unread >= CONNECTION_WINDOW_BYTES // 4:
            self.write(Frame.WINDOW_UPDATE, 0, 0, _U32.pack(self._unread))
            self._unread = 0

    def _take_reset(self, _flags: int, number: int, payload: bytes) -> None:
        if number == 0 or number > self._highest or len(payload) != 4:
            raise Violation(Ending.PROTOCOL_ERROR, "RST_STREAM of no stream")
        self.forget(number)

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6:
            raise Violation(Ending.FRAME_SIZE_ERROR, "a broken SETTINGS")
        if flags & ACK:
            return
        self._seen_settings = True
        for code, value in _SETTING.iter_unpack(payload):
            if code == 4:
                self._resize_windows(value)
            elif code == 5:
                self.peer_frame_bytes = min(value, FRAME_BYTES_MAX)
        self.write(Frame.SETTINGS, ACK, 0)

    def _resize_windows(self, size: int) -> None:
        if size > 0x7FFFFFFF:
            raise Violation(Ending.FLOW_CONTROL_ERROR, "a window over 2^31-1")
        change, self.peer_window = size - self.peer_window, size
        for stream in list(self.streams.values()):
            stream.widen(change)

    def _take_window(self, _flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4 or number > self._highest:
            raise Violation(Ending.PROTOCOL_ERROR, "a broken WINDOW_UPDATE")
        step = _U32.unpack(payload)[0] & 0x7FFFFFFF
        if step == 0:
            raise Violation(Ending.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if number:
            if stream := self.streams.get(number):
                stream.widen(step)
            return
        self.send_window += step
        if self.send_window > 0x7FFFFFFF:
            raise Violation(Ending.FLOW_CONTROL_ERROR, "a window over 2^31-1")
        for stream in list(self.streams.values()):
            stream.pump()

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise Violation(Ending.FRAME_SIZE_ERROR, "a broken PING")
        if not flags & ACK:
            self.write(Frame.PING, ACK, 0, payload)

    def _take_goaway(self, _flags: int, _number: int, _payload: bytes) -> None:
        """The client opens no further streams; it closes when it has its answers."""

    def _take_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise Violation(Ending.PROTOCOL_ERROR, "a client cannot push")
