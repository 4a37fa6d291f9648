"""HTTP/2 frames (RFC 9113, section 4 and 6): written by functions, read by `FrameReader`.

Knows the wire and nothing of streams' meaning: what is well-formed is handed to a `Receiver`, what is not ends
the connection by `ConnectionFault`.
"""

from __future__ import annotations

import struct
from typing import Protocol

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x6, 0x7, 0x8, 0x9, 0xB
ERRORS = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX = 16_384
"""What we let the peer put in one frame: the protocol's own default."""
HEADER_BLOCK_BYTES_MAX = 65_536
"""A header block in pieces is kept until it is whole; no provider comes near this."""
WINDOW_MAX = 2**31 - 1
STATUS_200 = 0x88
"""The first byte of a header block that begins with `:status: 200` (RFC 7541, appendix A, entry 8)."""

pack_head = struct.Struct(">HBBBL").pack
"""A frame's head: length (upper 16 bits, lower 8), type, flags, stream."""
pack_u32 = struct.Struct(">L").pack
unpack_u32 = struct.Struct(">L").unpack_from
_unpack_setting = struct.Struct(">HL")


class ConnectionFault(Exception):
    """The peer broke the protocol in a way that ends the connection. code: the error we tell it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else f"error {code:#x}"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return pack_head(size >> 8, size & 255, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_unpack_setting.pack(*item) for item in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, pack_u32(increment))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, pack_u32(code))


def goaway(code: int, detail: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, pack_u32(0) + pack_u32(code) + detail.encode()[:128])


def header_block(stream: int, block: bytes, frame_bytes_max: int) -> bytes:
    """A HEADERS frame that leaves the stream open, with CONTINUATIONs when the block is longer than a frame."""
    pieces = [block[at : at + frame_bytes_max] for at in range(0, len(block), frame_bytes_max)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(CONTINUATION if n else HEADERS, END_HEADERS if n == last else 0, stream, piece)
        for n, piece in enumerate(pieces)
    )


class Receiver(Protocol):
    """Takes what a peer says, frame by frame, in order. Any method may raise ConnectionFault."""

    def on_plain_200(self, stream: int) -> None:
        """A whole answer in one frame: status 200, nothing else of interest."""
        ...

    def on_begun_200(self, stream: int) -> None:
        """The same, but its body follows."""
        ...

    def on_headers(self, stream: int, block: bytes, *, end: bool) -> None: ...
    def on_data(self, stream: int, data: bytes, *, counted: int, end: bool) -> None:
        """counted: bytes of flow control, padding included."""
        ...

    def on_reset(self, stream: int, code: int) -> None: ...
    def on_settings(self, values: list[tuple[int, int]]) -> None: ...
    def on_ping(self, opaque: bytes, *, ack: bool) -> None: ...
    def on_goaway(self, last: int, code: int, debug: bytes) -> None: ...
    def on_window(self, stream: int, increment: int) -> None: ...


class FrameReader:
    """Cuts a byte stream into frames, checks them and hands them on. Bytes may come in any pieces."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rest = b""
        self._greeted = False
        # A header block under way: its stream (0: none), pieces, and whether it ends the stream.
        self._block_of, self._block, self._block_ends = 0, b"", False
        self._handlers = {
            DATA: self._data,
            HEADERS: self._headers,
            RST_STREAM: self._reset,
            SETTINGS: self._settings,
            PUSH_PROMISE: self._push,
            PING: self._ping,
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window,
            CONTINUATION: self._continuation,
        }

    def feed(self, data: bytes) -> None:
        """Raises ConnectionFault; the reader is then of no further use."""
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        on_plain_200, on_begun_200 = self._receiver.on_plain_200, self._receiver.on_begun_200
        on_data = self._receiver.on_data
        while end - at >= 9:
            size = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if size > FRAME_BYTES_MAX:
                raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            after = at + 9 + size
            if after > end:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = unpack_u32(buffer, at + 5)[0] & WINDOW_MAX
            # Hot path: what nearly all frames are.
            if (
                kind == HEADERS
                and flags & ~END_STREAM == END_HEADERS
                and size
                and buffer[at + 9] == STATUS_200
                and self._quiet(stream)
            ):
                (on_begun_200 if flags == END_HEADERS else on_plain_200)(stream)
            elif flags == END_STREAM and kind == DATA and self._quiet(stream):
                # FCM says what it took in a frame of its own, the end of nearly every answer.
                on_data(stream, buffer[at + 9 : after], counted=size, end=True)
            else:
                self._take(kind, flags, stream, buffer[at + 9 : after])
            at = after
        self._rest = buffer[at:] if at else buffer

    def _quiet(self, stream: int) -> bool:
        """Neither before the greeting nor inside a header block, where a HEADERS frame is an error."""
        return self._greeted and not self._block_of and stream != 0

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self._greeted:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(PROTOCOL_ERROR, "the peer does not begin with SETTINGS")
            self._greeted = True
        if self._block_of and (kind != CONTINUATION or stream != self._block_of):
            raise ConnectionFault(PROTOCOL_ERROR, "a header block was interrupted")
        if kind in _OF_CONNECTION and stream:
            raise ConnectionFault(PROTOCOL_ERROR, f"a frame of type {kind} on a stream")
        if kind in _OF_STREAM and not stream:
            raise ConnectionFault(PROTOCOL_ERROR, f"a frame of type {kind} outside any stream")
        if kind in _FIXED_SIZE and len(payload) != _FIXED_SIZE[kind]:
            raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of type {kind} with {len(payload)} bytes")
        self._hand_on(kind, flags, stream, payload)

    def _hand_on(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        handler = self._handlers.get(kind)
        if handler is not None:  # PRIORITY, and types of extensions, are to be ignored (RFC 9113, 5.5)
            handler(flags, stream, payload)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        data, end = _unpadded(flags, payload), bool(flags & END_STREAM)
        self._receiver.on_data(stream, data, counted=len(payload), end=end)

    def _reset(self, flags: int, stream: int, payload: bytes) -> None:
        self._receiver.on_reset(stream, unpack_u32(payload)[0])

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        self._receiver.on_ping(payload, ack=bool(flags & ACK))

    def _goaway(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a GOAWAY that is too short")
        last, code = unpack_u32(payload)[0] & WINDOW_MAX, unpack_u32(payload, 4)[0]
        self._receiver.on_goaway(last, code, payload[8:])

    def _window(self, flags: int, stream: int, payload: bytes) -> None:
        self._receiver.on_window(stream, unpack_u32(payload)[0] & WINDOW_MAX)

    def _push(self, flags: int, stream: int, payload: bytes) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE, although push is off")

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        block = _unpadded(flags, payload)
        if flags & PRIORITISED:
            if len(block) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            block = block[5:]
        if flags & END_HEADERS:
            self._receiver.on_headers(stream, block, end=bool(flags & END_STREAM))
        else:
            self._block_of, self._block, self._block_ends = stream, block, bool(flags & END_STREAM)

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._block_of:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        if len(self._block) > HEADER_BLOCK_BYTES_MAX or not (payload or flags & END_HEADERS):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block without end")
        if flags & END_HEADERS:
            self._block_of, block = 0, self._block
            self._receiver.on_headers(stream, block, end=self._block_ends)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & ACK and payload):
            raise ConnectionFault(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        if not flags & ACK:
            self._receiver.on_settings(list(_unpack_setting.iter_unpack(payload)))


_OF_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})
_OF_STREAM = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION})
_FIXED_SIZE = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
