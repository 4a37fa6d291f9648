"""One HTTP/2 connection of a client (RFC 9113), served as cheaply as Python can: whole requests in, answers out.

Owns the wire's rules towards the client, both windows and the header blocks. A request is answered as soon as it is
whole, and the answers to all that one read brought leave in one write. Frames are read by the gateways' own reader,
which checks them. Never judges a request.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import hpack

from gateways.http2 import frames
from gateways.http2.frames import PROTOCOL_ERROR, ConnectionFault, FrameReader, frame, pack_head

STREAMS_MAX = 1_000
"""Requests of one connection under way at once, as APNs announces."""
WINDOW_BYTES = 1 << 20
"""What a connection, and each of its requests, may send before it is given more; given back by halves."""
BODY_BYTES_MAX = 65_536
"""Of one request: a fraction of its window, so that no stream's window ever needs an update."""
ANSWER_BYTES_MAX = 1_024
"""An answer's body is a line, which every stream's window must hold."""
HEADER_LIST_BYTES_MAX = 65_536
_WINDOW_DEFAULT = 65_535
_INDEXED, _REMEMBERED_OR_RESIZED = 0x80, 0x20
_LONG, _LONG_NAME = 127, 15
"""Lengths and indexes that take more bytes than one. With a string's length, more than that says Huffman's code."""
LAYOUTS_MAX = 64
"""Layouts of header blocks kept, by their lengths; a gateway has two or three."""

Fields = Mapping[bytes, bytes]
"""A request's headers. Of one that comes twice, the last."""
Answer = tuple[bytes, bytes]
"""The header block, of which nothing is to be remembered, and the body."""


class Connection(asyncio.Protocol):
    """judge: answers a request, at once. Reads no further as long as its client doesn't."""

    def __init__(self, judge: Callable[[Fields, bytes], Answer]) -> None:
        self._judge = judge
        self._transport: asyncio.Transport | None = None
        self._reader, self._blocks = FrameReader(self), HeaderBlocks()
        self._preface: bytes | None = b""
        self._begun: dict[int, tuple[Fields, bytes]] = {}
        self._highest = 0
        self._received = 0  # bytes of bodies not yet given back to the client's window
        self._window = _WINDOW_DEFAULT
        self._held: deque[tuple[int, Answer]] = deque()  # for want of window
        self._out: list[bytes] = []

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but no subclass
        ours = {frames.MAX_CONCURRENT_STREAMS: STREAMS_MAX, frames.INITIAL_WINDOW_SIZE: WINDOW_BYTES}
        window = frames.window_update(0, WINDOW_BYTES - _WINDOW_DEFAULT)
        self._transport.write(frames.settings(ours) + window)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "connected before it receives"
        if self._transport.is_closing():
            return
        try:
            self._reader.feed(data if self._preface is None else self._greeted(data))
            self._give_back()
        except ConnectionFault as fault:
            last_and_code = frames.pack_u32(self._highest) + frames.pack_u32(fault.code)
            self._out.append(frame(frames.GOAWAY, 0, 0, last_and_code + fault.reason.encode()[:128]))
            self._flush()
            self._transport.close()
        else:
            self._flush()

    def _greeted(self, data: bytes) -> bytes:
        """What follows the client's preface, which may come in pieces."""
        assert self._preface is not None, "greeted once"
        begun = self._preface + data
        if not frames.PREFACE.startswith(begun[: len(frames.PREFACE)]):
            raise ConnectionFault(PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(begun) < len(frames.PREFACE):
            self._preface = begun
            return b""
        self._preface = None
        return begun[len(frames.PREFACE) :]

    def _give_back(self) -> None:
        if self._received > WINDOW_BYTES:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._received > WINDOW_BYTES // 2:
            self._out.append(frames.window_update(0, self._received))
            self._received = 0

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    # What the client says (frames.Receiver)

    def on_headers(self, stream: int, block: bytes, *, end: bool) -> None:
        fields = self._blocks.read(block)  # in any case: the table is the connection's
        if stream > self._highest and stream & 1:
            self._highest = stream
            if len(self._begun) >= STREAMS_MAX:
                self._out.append(frames.reset(stream, frames.REFUSED_STREAM))
            elif end:
                self._send(stream, self._judge(fields, b""))
            else:
                self._begun[stream] = fields, b""
        elif stream in self._begun and end:  # trailers
            self._send(stream, self._judge(*self._begun.pop(stream)))
        else:
            raise ConnectionFault(PROTOCOL_ERROR, f"HEADERS on stream {stream}, which cannot be opened")

    def on_data(self, stream: int, data: bytes, *, counted: int, end: bool) -> None:
        self._received += counted
        found = self._begun.pop(stream, None)
        if found is None:
            self._check_not_idle(stream)
            return
        fields, body = found
        body = body + data if body else data
        if len(body) > BODY_BYTES_MAX:
            self._out.append(frames.reset(stream, frames.CANCEL))
        elif end:
            self._send(stream, self._judge(fields, body))
        else:
            self._begun[stream] = fields, body

    def on_plain_200(self, stream: int) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "a request with a status")

    def on_begun_200(self, stream: int) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "a request with a status")

    def on_reset(self, stream: int, code: int) -> None:
        self._check_not_idle(stream)
        self._begun.pop(stream, None)
        self._held = deque(waiting for waiting in self._held if waiting[0] != stream)

    def on_settings(self, values: list[tuple[int, int]]) -> None:
        for key, value in values:
            if key == frames.INITIAL_WINDOW_SIZE and not ANSWER_BYTES_MAX <= value <= frames.WINDOW_MAX:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, f"no answer fits a window of {value}")
        self._out.append(frame(frames.SETTINGS, frames.ACK, 0))

    def on_ping(self, opaque: bytes, *, ack: bool) -> None:
        if not ack:
            self._out.append(frame(frames.PING, frames.ACK, 0, opaque))

    def on_goaway(self, last: int, code: int, debug: bytes) -> None:
        """It opens no further streams, and closes when it has its answers."""

    def on_window(self, stream: int, increment: int) -> None:
        if stream:
            self._check_not_idle(stream)
        elif increment == 0 or self._window + increment > frames.WINDOW_MAX:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, f"a window update of {increment}")
        else:
            self._window += increment
            held, self._held = self._held, deque()
            for waiting in held:
                self._send(*waiting)

    def _check_not_idle(self, stream: int) -> None:
        """What comes for a stream that has ended is late; for one that was never opened it is a fault."""
        if stream > self._highest or not stream & 1:
            raise ConnectionFault(PROTOCOL_ERROR, f"stream {stream} was never opened")

    # Answers

    def _send(self, stream: int, answer: Answer) -> None:
        """Now, or after those that already wait for the client's window."""
        head, body = answer
        size = len(body)
        assert size <= ANSWER_BYTES_MAX, "a line"
        if size > self._window or (size and self._held):
            self._held.append((stream, answer))
            return
        self._window -= size
        whole = frames.END_HEADERS if body else frames.END_HEADERS | frames.END_STREAM
        sent = pack_head(0, len(head), frames.HEADERS, whole, stream) + head
        if body:
            sent += pack_head(size >> 8, size & 255, frames.DATA, frames.END_STREAM, stream) + body
        self._out.append(sent)


class Layout(NamedTuple):
    """Where the strings are in a block that changed no table. Others that match differ from it in those alone."""

    match: Callable[[bytes], re.Match[bytes] | None]
    names: tuple[bytes, ...]
    constants: dict[bytes, bytes]


class HeaderBlocks:
    """Reads the header blocks of one connection (RFC 7541): by `hpack`, but for those that change no table.

    Those are nearly all, and have nothing in them but entries of the table and strings as they are. A block with
    anything else (a field to be remembered, Huffman's code, a long number) is left to `hpack` whole. Notifications
    of one message differ in their values alone, so the layout of one is kept for the next.
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=HEADER_LIST_BYTES_MAX)
        self._layouts: dict[int, Layout] = {}

    def read(self, block: bytes) -> Fields:
        """Raises ConnectionFault."""
        layout = self._layouts.get(len(block))
        if layout is not None and (found := layout.match(block)):
            return layout.constants | dict(zip(layout.names, found.groups(), strict=True))
        try:
            fields = self._read_plain(block)
            if fields is None:
                self._layouts.clear()
                fields = dict(self._decoder.decode(block, raw=True))
        except (hpack.HPACKError, IndexError, ValueError) as error:
            reason = f"headers that cannot be decoded: {error}"
            raise ConnectionFault(frames.COMPRESSION_ERROR, reason) from None
        return fields

    def _read_plain(self, block: bytes) -> dict[bytes, bytes] | None:
        """None: for hpack to read."""
        constants, strings = dict[bytes, bytes](), list[tuple[bytes, int, int]]()
        entry, at, end = self._decoder.header_table.get_by_index, 0, len(block)
        while at < end:
            first = block[at]
            index = first & (_LONG if first >= _INDEXED else _LONG_NAME)
            at += 1
            if first > _INDEXED and index < _LONG:
                name, value = entry(index)
                constants[name] = value
                continue
            if first >= _REMEMBERED_OR_RESIZED or index == _LONG_NAME:
                return None
            if index:
                name = entry(index)[0]
            else:
                size = block[at]
                name, at = block[at + 1 : at + 1 + size], at + 1 + size
                if size >= _LONG:
                    return None
            size = block[at]
            strings.append((name, at + 1, at + 1 + size))
            at += 1 + size
            if size >= _LONG:
                return None
        fields = constants | {name: block[begin:after] for name, begin, after in strings}
        if at > end or len(fields) < len(constants) + len(strings):  # cut off, or one of them came twice
            return None
        if end not in self._layouts and len(self._layouts) < LAYOUTS_MAX:
            self._layouts[end] = _layout(block, constants, strings)
        return fields


def _layout(block: bytes, constants: dict[bytes, bytes], strings: list[tuple[bytes, int, int]]) -> Layout:
    """strings: name, and where the value begins and ends. All other bytes, lengths among them, must be the same."""
    pattern, at = b"", 0
    for _, begin, after in strings:
        pattern += re.escape(block[at:begin]) + b"(.{%d})" % (after - begin)
        at = after
    match = re.compile(pattern + re.escape(block[at:]), re.DOTALL).fullmatch
    return Layout(match, tuple(name for name, *_ in strings), constants)
