"""The short way reads what nats-py's own parser reads, however the bytes come."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from infra.nats.connection import Connection
from infra.nats.frames import Frame
from infra.nats.parser import RoutingParser

ROUTED, OTHER = 7, 8
Seen = list[tuple[Any, ...]]


class Client:
    """What a parser tells its client, written down."""

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

    async def ignore(self, *_: object) -> None:
        """Control messages need a real connection."""

    def route(self, frame: Frame) -> None:
        self.seen.append((ROUTED, frame.subject, frame.reply, frame.data, frame.headers))


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


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_it_reads_what_nats_py_reads(stream: bytes, cuts: list[int]) -> None:
    """Same messages, same order, nothing left over, whatever the pieces."""
    ours, theirs = Client(), Client()
    parser = RoutingParser(ours, {ROUTED: ours.route})
    reference = Parser(theirs)

    async def read() -> None:
        for chunk in chunks(stream, cuts):
            await parser.parse(chunk)
        await reference.parse(stream)

    asyncio.run(read())
    assert ours.seen == theirs.seen
    assert not parser.buf


@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_connection_hands_every_routed_message_to_its_route(stream: bytes, cuts: list[int]) -> None:
    """Also those that nats-py's own code had begun to read, after a PING in the same piece."""
    ours, theirs = Client(), Client()
    connection = Connection()
    connection._routes[ROUTED] = ours.route
    for name in ("_process_ping", "_process_pong", "_process_info", "_process_err"):
        setattr(connection, name, theirs.ignore)

    async def read() -> None:
        for chunk in chunks(stream, cuts):
            await connection._ps.parse(chunk)
        await Parser(theirs).parse(stream)

    asyncio.run(read())
    assert ours.seen == [each for each in theirs.seen if each[0] == ROUTED]


@pytest.mark.parametrize(
    "line", [b"MSG a 7\r\n", b"MSG a x 1\r\nx\r\n", b"HMSG a 7 5 3\r\nx\r\n", b"MSG a 7 1 2 3 4\r\n"]
)
def test_what_is_no_message_is_a_protocol_error(line: bytes) -> None:
    """Which makes the client reconnect."""
    client = Client()
    with pytest.raises(ProtocolError):
        asyncio.run(RoutingParser(client, {ROUTED: client.route}).parse(line))
