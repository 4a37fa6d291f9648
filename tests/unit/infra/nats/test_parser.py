"""The reader hands on what nats-py's own parser reads, however the bytes come."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from infra.nats.wire.frames import Frame
from infra.nats.wire.parser import LINE_BYTES_MAX, MESSAGE_BYTES_MAX, FrameReader

ROUTED, OTHER = 7, 8
Seen = list[tuple[Any, ...]]


class Client:
    """What nats-py's parser tells its client, written down."""

    def __init__(self) -> None:
        self.seen: Seen = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.seen.append((sid, bytes(subject), bytes(reply), data, headers or b""))

    async def _process_ping(self) -> None:
        self.seen.append(("PING",))

    async def _process_pong(self) -> None:
        self.seen.append(("PONG",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.seen.append(("INFO", info))

    async def _process_err(self, error: str) -> None:
        self.seen.append(("ERR", error))


def understood(stream: bytes) -> Seen:
    """What nats-py makes of it by itself."""
    client = Client()
    asyncio.run(Parser(client).parse(stream))
    return client.seen


class Reading:
    """A reader, what its route was handed, and what it left to others."""

    def __init__(self) -> None:
        self.routed: Seen = []
        self.left = b""
        self.reader = FrameReader({b"%d" % ROUTED: self._on_frame}, self._on_other)

    def _on_frame(self, frame: Frame) -> None:
        self.routed.append((ROUTED, frame.subject, frame.reply, frame.data, frame.headers))

    def _on_other(self, data: bytes) -> None:
        self.left += data


sids = st.sampled_from([ROUTED, OTHER])
replies = st.sampled_from([b"", b"_INBOX.r "])
payloads = st.binary(max_size=30) | st.sampled_from([b"\r\n", b"MSG a 7 1\r\nx\r\n", b"PING\r\n"])
blocks = st.sampled_from([b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n"])
plain = st.tuples(sids, replies, payloads).map(
    lambda m: b"MSG a.b %d %b%d\r\n%b\r\n" % (m[0], m[1], len(m[2]), m[2])
)
with_headers = st.tuples(sids, replies, blocks, payloads).map(
    lambda m: b"HMSG a.b %d %b%d %d\r\n%b%b\r\n" % (m[0], m[1], len(m[2]), len(m[2] + m[3]), m[2], m[3])
)
controls = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"a":1}\r\n', b"-ERR 'no'\r\n"])
streams = st.lists(st.one_of(plain, with_headers, controls), max_size=12).map(b"".join)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def assert_reads(pieces: list[bytes], expected: Seen) -> None:
    """Same messages as nats-py reads, same order among the routed and among the others, nothing left over."""
    reading = Reading()
    for piece in pieces:
        reading.reader.feed(piece)
    assert reading.routed == [each for each in expected if each[0] == ROUTED]
    assert understood(reading.left) == [each for each in expected if each[0] != ROUTED]


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_it_reads_what_nats_py_reads(stream: bytes, cuts: list[int]) -> None:
    """Whatever the pieces; what has no route is left to nats-py whole."""
    assert_reads(chunks(stream, cuts), understood(stream))


@settings(max_examples=10, deadline=None)  # each of them is read some two hundred times
@given(st.lists(st.one_of(plain, with_headers, controls), min_size=1, max_size=3).map(b"".join))
def test_every_byte_may_come_alone_and_every_boundary_may_cut(stream: bytes) -> None:
    """Each place once in two pieces, and all places at the same time."""
    expected = understood(stream)
    for cut in range(len(stream) + 1):
        assert_reads([stream[:cut], stream[cut:]], expected)
    assert_reads([stream[at : at + 1] for at in range(len(stream))], expected)


def test_a_long_message_is_joined_once() -> None:
    """Its pieces are not copied again with each further one."""
    size = 4 << 20
    reading = Reading()
    reading.reader.feed(b"MSG a 7 %d\r\n" % size)
    for _ in range(size // 1024):
        assert not reading.routed
        reading.reader.feed(b"x" * 1024)
    assert len(reading.reader._pieces) == size // 1024 + 1
    reading.reader.feed(b"\r\nMSG a 7 1\r\ny\r\n")
    assert [len(data) for _, _, _, data, _ in reading.routed] == [size, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 7\r\n",
        b"MSG a 7 -1\r\n",
        b"MSG a 7 x\r\nx\r\n",
        b"HMSG a 7 5 3\r\nx\r\n",
        b"HMSG a\r\n",
        b"MSG\r\n",
        b"MSG a 7 1 2 3 4\r\n",
        b"MSG a 7 %d\r\n" % (MESSAGE_BYTES_MAX + 1),
        b"MSG a 7 %s\r\n" % (b"9" * 5000),
        b"x" * (LINE_BYTES_MAX + 1),
    ],
)
def test_what_is_no_message_is_a_protocol_error(line: bytes) -> None:
    """Which makes the client reconnect; a broken size or a line without end fills no memory."""
    with pytest.raises(ProtocolError):
        Reading().reader.feed(line)
