"""The benchmarks' HTTP/2 server against hyper-h2, which shares no code with it and checks every frame it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rig.http2_server import (
    ANSWER_BYTES_MAX,
    STREAMS_MAX,
    WINDOW_BYTES,
    Answer,
    Connection,
    Fields,
    HeaderBlocks,
)
from gateways.http2.frames import PREFACE, ConnectionFault
from gateways.http2.headers import RequestHeaders, literals

POST = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/3/device/aa")]


class Wire(asyncio.Transport):
    """A transport that keeps what is written. reading: whether more may be read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing, self.reading = False, True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Client:
    """hyper-h2 as the client of a server that echoes each request's path and body size."""

    def __init__(self) -> None:
        self.asked: list[tuple[Fields, bytes]] = []
        self.wire = Wire()
        self.server = Connection(self._judge)
        self.server.connection_made(self.wire)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.told()

    def _judge(self, fields: Fields, body: bytes) -> Answer:
        self.asked.append((fields, body))
        return b"\x88" + literals([(b"x-path", fields[b":path"])]), b"%d" % len(body)

    def open(self, *further: tuple[str, str], end: bool = False) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*POST, *further], end_stream=end)
        return stream

    def told(self, data: bytes = b"") -> None:
        """Read what the server has written so far."""
        written, self.wire.written = self.wire.written + data, b""
        self.events += self.h2.receive_data(written)

    def exchange(self, piece_bytes: int | None = None) -> None:
        """Until neither has anything more to say."""
        while data := self.h2.data_to_send():
            step = piece_bytes or len(data)
            for at in range(0, len(data), step):
                self.server.data_received(data[at : at + step])
            self.told()

    def seen(self, kind: type[Any]) -> Iterator[Any]:
        return (event for event in self.events if isinstance(event, kind))

    def bodies(self) -> dict[int, bytes]:
        return {event.stream_id: event.data for event in self.seen(h2.events.DataReceived)}


@pytest.fixture
def client() -> Client:
    client = Client()
    client.exchange()
    return client


@pytest.mark.parametrize("piece_bytes", [None, 1, 7, 100])
def test_requests_in_any_pieces_are_answered_each_on_its_stream(piece_bytes: int | None) -> None:
    """However the bytes come, preface included, each request is read whole, once, and gets its own answer."""
    client = Client()
    for n in range(20):
        stream = client.open((f"x-{n % 3}", "Huffman's code," * n), ("apns-id", str(n)))
        client.h2.send_data(stream, b"x" * n)
        client.h2.send_data(stream, b"y", end_stream=True)
    client.exchange(piece_bytes)
    assert client.bodies() == {2 * n + 1: b"%d" % (n + 1) for n in range(20)}
    assert [body for _, body in client.asked] == [b"x" * n + b"y" for n in range(20)]
    assert [fields[b"apns-id"] for fields, _ in client.asked] == [b"%d" % n for n in range(20)]
    assert [fields[b"x-%d" % (n % 3)] for n, (fields, _) in enumerate(client.asked)] == [
        b"Huffman's code," * n for n in range(20)
    ]
    assert sum(1 for _ in client.seen(h2.events.StreamEnded)) == 20


def test_a_request_may_have_no_body_padding_a_long_head_or_trailers(client: Client) -> None:
    """What few clients do is read as the protocol says."""
    client.open(("x", "without a body"), end=True)
    padded, long, trailed = client.open(), client.open(("x", "y" * 40_000)), client.open()
    client.h2.send_data(padded, b"three", end_stream=True, pad_length=99)
    client.h2.send_data(long, b"", end_stream=True)
    client.h2.send_data(trailed, b"body")
    client.h2.send_headers(trailed, [("x-sum", "1")], end_stream=True)
    client.exchange()
    assert client.bodies() == {1: b"0", padded: b"5", long: b"0", trailed: b"4"}
    assert client.asked[2][0][b"x"] == b"y" * 40_000


def test_settings_are_acknowledged_and_pings_answered(client: Client) -> None:
    """The client learns the limits that providers announce, and that the connection lives."""
    assert sum(1 for _ in client.seen(h2.events.SettingsAcknowledged)) == 1
    assert client.h2.remote_settings.max_concurrent_streams == STREAMS_MAX
    client.h2.ping(b"are you?")
    client.exchange()
    assert [event.ping_data for event in client.seen(h2.events.PingAckReceived)] == [b"are you?"]


def test_the_connection_window_is_given_back(client: Client) -> None:
    """Bodies of many times the window go through; hyper-h2 would refuse to send a byte too many."""
    for _ in range(5 * WINDOW_BYTES // 40_000):
        stream = client.open()
        for left in (24_000, 16_000, 0):
            client.h2.send_data(stream, b"x" * min(left, 16_000) or b"", end_stream=not left)
        client.exchange()
    assert set(client.bodies().values()) == {b"32000"}


def test_answers_wait_for_the_clients_window(client: Client) -> None:
    """A client that gives nothing back gets no more than its window holds, and the rest in order when it does."""
    count = 3 * 65_535 // ANSWER_BYTES_MAX
    server_body = b"z" * ANSWER_BYTES_MAX
    client.server._judge = lambda fields, body: (b"\x88", server_body)
    streams = [client.open(end=True) for _ in range(count)]
    client.exchange()
    assert len(client.bodies()) == 65_535 // ANSWER_BYTES_MAX
    while len(got := client.bodies()) < count:
        client.h2.increment_flow_control_window(20_000)
        client.exchange()
    assert list(got) == streams


def test_a_request_beyond_the_stream_limit_is_refused(client: Client) -> None:
    """Refused as never processed, and the others go on."""
    client.h2.remote_settings.update({3: STREAMS_MAX + 1})
    client.h2.remote_settings.acknowledge()
    streams = [client.open() for _ in range(STREAMS_MAX + 1)]
    client.exchange()
    [reset] = client.seen(h2.events.StreamReset)
    assert (reset.stream_id, reset.error_code) == (streams[-1], h2.errors.ErrorCodes.REFUSED_STREAM)
    client.h2.send_data(streams[0], b"", end_stream=True)
    client.exchange()
    assert list(client.bodies()) == streams[:1]


def test_a_body_without_end_is_cut_off(client: Client) -> None:
    """One request cannot take all memory; the next is served."""
    endless = client.open()
    for _ in range(5):
        client.h2.send_data(endless, b"x" * 16_000)
    client.exchange()
    assert [event.stream_id for event in client.seen(h2.events.StreamReset)] == [endless]
    client.open(end=True)
    client.exchange()
    assert len(client.asked) == 1


def test_a_request_given_up_leaves_nothing_behind(client: Client) -> None:
    """It is never judged; and if it was, an answer that still waits for the client's window is not sent any more."""
    stream = client.open()
    client.exchange()
    client.h2.reset_stream(stream)
    client.exchange()
    assert (client.asked, client.server._begun) == ([], {})
    client.server._window = 0
    kept, given_up = client.open(end=True), client.open(end=True)
    client.exchange()
    client.h2.reset_stream(given_up)
    client.h2.increment_flow_control_window(20_000)
    client.exchange()
    assert list(client.bodies()) == [kept]


def test_reading_stops_with_the_clients(client: Client) -> None:
    """A client that doesn't read its answers gets to send no more requests."""
    client.server.pause_writing()
    assert client.wire.reading is False
    client.server.resume_writing()
    assert client.wire.reading is True


@pytest.mark.parametrize(
    "broken",
    [
        b"POST /3/device/aa HTTP/1.1\r\n\r\n",
        PREFACE + b"\0\0\0\1\4\0\0\0\1",  # HEADERS before SETTINGS
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\1\xff",  # headers cut off
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\1\x88",  # a status
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\0\1\0\0\0\1x",  # DATA on a stream never opened
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\2\x83",  # a stream of the server's
        PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\10\0\0\0\0\0\0\0\0\0",  # a window update of nothing
        PREFACE + b"\0\0\6\4\0\0\0\0\0\0\4\0\0\0\1",  # no answer fits the window
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_goodbye(broken: bytes) -> None:
    """GOAWAY with a reason, then the end; nothing is judged and nothing more is read."""
    client = Client()
    client.server.data_received(broken)
    client.told()
    [end] = client.seen(h2.events.ConnectionTerminated)
    assert end.error_code != h2.errors.ErrorCodes.NO_ERROR
    assert client.wire.closing
    client.server.data_received(b"more")
    assert (client.asked, client.wire.written) == ([], b"")


def test_blocks_of_one_length_are_told_apart() -> None:
    """A layout serves only blocks that are the same but for their values."""
    blocks = HeaderBlocks()
    for fields in (
        [(b"a", b"12"), (b"b", b"34")],
        [(b"a", b"56"), (b"b", b"\n\0")],
        [(b"ab", b"1"), (b"b", b"34")],
        [(b"a", b"1"), (b"b", b"345")],
        [(b"a", b"12345678")],
        [(b"a", b"12"), (b"a", b"34")],
        [(b"a", b"12"), (b"b", b"34")],
    ):
        assert blocks.read(literals(fields)) == dict(fields)
    assert len(literals([(b"a", b"12"), (b"b", b"34")])) == len(literals([(b"a", b"1"), (b"b", b"345")]))
    assert blocks.read(b"\x83" + literals([(b":method", b"PUT")])) == {b":method": b"PUT"}
    assert blocks.read(literals([(b":method", b"PUT")]) + b"\x83") == {b":method": b"POST"}


NAMES = st.sampled_from([b":path", b"authorization", b"apns-id", b"x"])
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=200)), max_size=8)


@given(st.lists(st.tuples(HEADERS, HEADERS, st.booleans(), st.booleans()), max_size=6))
def test_header_blocks_are_read_as_hpack_reads_them(
    requests: list[tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]], bool, bool]],
) -> None:
    """Whatever enters the table, and however strings are written, block after block."""
    encoder, blocks = hpack.Encoder(), HeaderBlocks()
    for remembered, forgotten, huffman, again in requests:
        block = encoder.encode(remembered, huffman=huffman) + literals(forgotten)
        assert blocks.read(block) == dict([*remembered, *forgotten])
        if again:
            block = encoder.encode(remembered, huffman=huffman) + literals(forgotten)
            assert blocks.read(block) == dict([*remembered, *forgotten])


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_read_as_hpack_reads_them(received: list[bytes]) -> None:
    """The short way and hpack agree on every block, and on which ones are none."""
    reference, blocks = hpack.Decoder(), HeaderBlocks()
    for block in received:
        try:
            expected = dict(reference.decode(block, raw=True))
        except (hpack.HPACKError, IndexError, ValueError):
            with pytest.raises(ConnectionFault):
                blocks.read(block)
            return
        assert blocks.read(block) == expected


def test_the_gateways_own_blocks_are_read(client: Client) -> None:
    """Constants that entered the table once, a path and headers of each request, a token that changes."""
    ours, blocks = RequestHeaders(b"localhost:1", [(b"authorization", b"bearer a")]), HeaderBlocks()
    for token in (b"bearer a", b"bearer a", b"bearer b", b"bearer b"):
        ours.set_constants([(b"authorization", token)])
        for n in range(3):
            id = (b"apns-id", b"%d" % n)
            assert blocks.read(ours.block(b"/3/device/%d" % n, literals([id]))) == {
                b":method": b"POST",
                b":scheme": b"https",
                b":authority": b"localhost:1",
                b":path": b"/3/device/%d" % n,
                b"authorization": token,
                b"apns-id": b"%d" % n,
            }
