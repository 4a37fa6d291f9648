"""Whatever bytes a peer sends: the connection fails cleanly, every request gets one result, and none gets another's."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.http2.batch import Batch
from gateways.http2.connection import Connection, Keepalive
from gateways.transport import Answer, Request, Result

REQUESTS = 6
OWN = tuple(range(1, 2 * REQUESTS, 2))
STATUSES = (100, 103, 200, 201, 204, 302, 400, 403, 410, 429, 500, 503)
BOUNDED = settings(max_examples=150, deadline=None)


class Wire(asyncio.Transport):
    """A socket's end in memory: keeps what is written, and can be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closing = bytearray(), False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "ssl_object" else default

    def selected_alpn_protocol(self) -> str:
        return "h2"

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def tag(stream: int) -> bytes:
    """A body that says whose it is."""
    return b"<%d>" % stream


GREETING = frame(4, 0, 0, b"")
streams = st.sampled_from(OWN)
ends = st.sampled_from((0, 1))


def padded(kind: int, flags: int, stream: int, payload: bytes, padding: int) -> bytes:
    return frame(kind, flags | 8, stream, bytes((padding,)) + payload + bytes(padding))


def headers(stream: int, status: int, end: int, cut: int) -> bytes:
    """`:status` as a literal, or by its index when it has one; in two frames when cut."""
    indexed = {200: b"\x88", 204: b"\x89", 400: b"\x8c", 500: b"\x8e"}
    block = indexed.get(status, b"\x08\x03%d" % status) + b"\x00\x01x\x01y"
    if not cut:
        return frame(1, 4 | end, stream, block)
    return frame(1, end, stream, block[:cut]) + frame(9, 4, stream, block[cut:])


well_formed = st.one_of(
    st.builds(headers, streams, st.sampled_from(STATUSES), ends, st.integers(0, 4)),
    st.builds(lambda stream, end: frame(0, end, stream, tag(stream)), streams, ends),
    st.builds(
        lambda stream, end, pad: padded(0, end, stream, tag(stream), pad), streams, ends, st.integers(0, 20)
    ),
    st.builds(lambda stream: frame(1, 5, stream, b"\x00\x01t\x01v"), streams),
    st.builds(lambda stream, code: frame(3, 0, stream, struct.pack(">I", code)), streams, st.integers(0, 14)),
    st.builds(
        lambda key, n: frame(4, 0, 0, struct.pack(">HI", key, n)), st.integers(1, 9), st.integers(0, 70_000)
    ),
    st.builds(lambda flags, opaque: frame(6, flags, 0, opaque), ends, st.binary(min_size=8, max_size=8)),
    st.builds(lambda last: frame(7, 0, 0, struct.pack(">II", last, 0)), st.integers(0, 2 * REQUESTS)),
    st.builds(lambda stream, n: frame(8, 0, stream, struct.pack(">I", n)), streams, st.integers(1, 70_000)),
    st.builds(lambda stream: frame(2, 0, stream, bytes(5)), streams),
    st.builds(lambda kind: frame(kind, 0, 0, b"extension"), st.integers(10, 255)),
)
malformed = st.one_of(
    st.builds(
        frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from((0, 1, 2, 5, 999, 2**31 - 1)),
        st.binary(max_size=40),
    ),
    st.binary(min_size=1, max_size=60),
)


def answers_to(pieces: Iterable[bytes], *, greeting: bytes = GREETING) -> tuple[list[Result | None], Wire]:
    """What six requests got when the peer said this and then closed."""

    async def scenario() -> tuple[list[Result | None], Wire]:
        wire, batch = Wire(), Batch([Request(b"/%d" % n, b"{}") for n in range(REQUESTS)], ())
        ended: list[Connection] = []
        connection = Connection(
            b"push.example",
            (),
            on_room=lambda: None,
            on_end=ended.append,
            on_status=lambda _connection, _status: None,
            keepalive=Keepalive(),
        )
        connection.connection_made(wire)
        connection.data_received(greeting)
        connection.take(deque((batch, n) for n in range(REQUESTS)))
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
            assert len(connection._reader._rest) < 16_384 + 9
        connection.connection_lost(None)
        assert ended == [connection]
        assert not connection._streams
        return batch.results, wire

    return asyncio.run(scenario())


def in_pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(at)]


@BOUNDED
@given(st.lists(well_formed, max_size=25), st.lists(st.integers(0, 10_000), max_size=6), st.integers(0, 30))
def test_an_answer_is_its_own_requests(frames: list[bytes], cuts: list[int], lost: int) -> None:
    """Frames of all streams in any order, in any pieces, cut off anywhere: bodies carry their own stream's tag only."""
    data = b"".join(frames)
    results, _ = answers_to(in_pieces(data[: len(data) - lost] if lost < len(data) else data, cuts))
    for stream, result in zip(OWN, results, strict=True):
        assert result is not None
        if isinstance(result, Answer):
            assert result.body.replace(tag(stream), b"") == b""
            assert result.status in STATUSES
            assert result.status >= 200


@BOUNDED
@given(st.lists(st.one_of(well_formed, malformed), max_size=25), st.lists(st.integers(0, 10_000), max_size=6))
def test_a_broken_peer_ends_the_connection_and_nothing_else(frames: list[bytes], cuts: list[int]) -> None:
    """No exception, no request without a result, nothing kept."""
    results, _ = answers_to(in_pieces(b"".join(frames), cuts))
    assert None not in results


@BOUNDED
@given(st.binary(max_size=200))
def test_a_peer_that_speaks_something_else(data: bytes) -> None:
    """The first frame must be SETTINGS; anything else is no HTTP/2."""
    results, wire = answers_to([data], greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert not any(isinstance(result, Answer) for result in results)
    assert wire.closing


def test_a_flood_of_pings_is_cut_off() -> None:
    """A peer that only makes us answer is told to calm down, with all memory given back."""
    results, wire = answers_to([frame(6, 0, 0, bytes(8)) * 5_000])
    assert None not in results
    assert wire.closing
    assert wire.written.endswith(b"a flood of control frames")


def test_headers_without_end_are_cut_off() -> None:
    """CONTINUATION after CONTINUATION: bounded by bytes, and by empty ones at once."""
    for piece in (b"x" * 16_000, b""):
        _, wire = answers_to([frame(1, 0, 1, b"\x88"), *[frame(9, 0, 1, piece)] * 6])
        assert wire.written.endswith(b"a header block without end")


def test_a_header_bomb_is_cut_off() -> None:
    """Small on the wire, large when unpacked."""
    block = b"\x08\x03418" + b"\x0f\x00" + b"\x7f\x81\x1f" + b"z" * 4_096
    _, wire = answers_to([frame(1, 4, 1, block * 3), frame(1, 4, 3, b"\x08\x03418" + b"\xbe" * 4_000)])
    assert wire.closing
