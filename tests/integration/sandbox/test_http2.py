from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from struct import pack

import h2.errors
import hpack
import pytest
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame, RstStreamFrame

from infra.sandbox import Sandbox
from infra.sandbox.wire.listener import CONNECTIONS_MAX
from tests.integration.sandbox.h2client import H2Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
REQUEST = [(":method", "POST"), (":scheme", "https"), (":path", "/3/device/x"), (":authority", "localhost")]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return pack(">L", len(payload))[1:] + pack(">BBL", kind, flags, stream) + payload


def block(headers: list[tuple[str, str]] | None = None) -> bytes:
    return hpack.Encoder().encode(headers or REQUEST)


class Raw:
    """A connection one writes bytes to, and reads frames from with `hyperframe`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def frames_until(self, *kinds: type[Frame]) -> Frame:
        """The first frame of one of the kinds."""
        async with asyncio.timeout(5):
            while True:
                head = await self._reader.readexactly(9)
                found, size = Frame.parse_frame_header(memoryview(head))
                found.parse_body(memoryview(await self._reader.readexactly(size)))
                if isinstance(found, kinds):
                    return found

    async def ended(self) -> bool:
        async with asyncio.timeout(5):
            await self._reader.read()
            return self._reader.at_eof()


@pytest.fixture
async def raw(sandbox: Sandbox) -> AsyncIterator[Raw]:
    async with asyncio.timeout(5):
        connection = Raw(*await _open(sandbox.urls.apns, sandbox.ca_file))
    yield connection
    connection.writer.transport.abort()


async def _open(url: str, ca_file: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=context)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PROTOCOL_ERROR"),
        (PREFACE + frame(6, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(6, 0, 0, b"short"), "FRAME_SIZE_ERROR"),
        (PREFACE + SETTINGS + frame(0, 1, 1, b"early"), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(1, 5, 2, block()), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(1, 5, 1, b"\xff\xff\xff\xff\xff"), "COMPRESSION_ERROR"),
        (PREFACE + SETTINGS + frame(1, 1, 1, block()) + frame(6, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(9, 4, 1, block()), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(1, 13, 1, b"\xff" + block()), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(8, 0, 0, bytes(4)), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff"), "FLOW_CONTROL_ERROR"),
        (PREFACE + SETTINGS + frame(5, 4, 1, bytes(4)), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(3, 0, 5, bytes(4)), "PROTOCOL_ERROR"),
        (PREFACE + SETTINGS + frame(4, 0, 0, b"odd"), "FRAME_SIZE_ERROR"),
        (PREFACE + SETTINGS + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", "FRAME_SIZE_ERROR"),
        (PREFACE + SETTINGS + frame(1, 5, 3, block()) + frame(1, 5, 1, block()), "STREAM_CLOSED"),
        (PREFACE + frame(4, 0, 0, pack(">HL", 4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    ],
)
async def test_a_broken_connection_ends_with_its_error(raw: Raw, sent: bytes, error: str) -> None:
    """What RFC 9113 calls a connection error gets GOAWAY with that error, and the end."""
    raw.writer.write(sent)
    said = await raw.frames_until(GoAwayFrame)
    assert isinstance(said, GoAwayFrame)
    assert said.error_code == h2.errors.ErrorCodes[error]
    assert await raw.ended()


@pytest.mark.parametrize(
    "headers",
    [
        REQUEST[1:],
        [*REQUEST, (":method", "POST")],
        [("x", "y"), *REQUEST],
        [*REQUEST, (":status", "200")],
        [*REQUEST, ("Upper", "x")],
        [*REQUEST, ("connection", "close")],
        [*REQUEST, ("x", "a\r\nb")],
        [*REQUEST, ("content-length", "5")],
    ],
)
async def test_a_broken_request_is_reset(raw: Raw, headers: list[tuple[str, str]]) -> None:
    """A malformed request ends with RST_STREAM, and the connection goes on."""
    raw.writer.write(PREFACE + SETTINGS + frame(1, 5, 1, block(headers)))
    said = await raw.frames_until(RstStreamFrame, GoAwayFrame)
    assert isinstance(said, RstStreamFrame)
    assert (said.stream_id, said.error_code) == (1, h2.errors.ErrorCodes.PROTOCOL_ERROR)
    raw.writer.write(frame(6, 0, 0, b"still ok"))
    assert await raw.frames_until(PingFrame)


async def test_no_more_streams_than_announced(raw: Raw, sandbox: Sandbox) -> None:
    """The stream over the limit is refused, so it is safe to repeat."""
    opened = b"".join(frame(1, 4, 2 * n + 1, block()) for n in range(1_001))
    raw.writer.write(PREFACE + SETTINGS + opened)
    said = await raw.frames_until(RstStreamFrame)
    assert isinstance(said, RstStreamFrame)
    assert (said.stream_id, said.error_code) == (2_001, h2.errors.ErrorCodes.REFUSED_STREAM)


async def test_headers_in_parts_padding_priority_and_trailers(raw: Raw, sandbox: Sandbox) -> None:
    """CONTINUATION, padding, priority and trailers are understood, even byte by byte."""
    whole = block()
    sent = (
        PREFACE
        + SETTINGS
        + frame(2, 0, 3, bytes(5))
        + frame(1, 0x28, 1, b"\x03" + bytes(5) + whole[:4] + bytes(3))
        + frame(9, 0, 1, whole[4:9])
        + frame(9, 4, 1, whole[9:])
        + frame(0, 8, 1, b"\x02{}" + bytes(2))
        + frame(1, 5, 1, block([("x-checksum", "1")]))
    )
    for byte in sent:
        raw.writer.write(bytes((byte,)))
    async with asyncio.timeout(5):
        while not (await sandbox.books.messages(refused=True))[0]:
            await asyncio.sleep(0.01)
    (item,), _ = await sandbox.books.messages(refused=True)
    assert (item.address, item.status) == ("x", 403)
    request = await sandbox.books.request(item.request)
    assert request is not None
    assert request["payload"] == b"{}"


async def test_a_small_window_holds_the_answer_back(raw: Raw) -> None:
    """A body goes out only as the client's window allows, and whole in the end."""
    raw.writer.write(PREFACE + frame(4, 0, 0, pack(">HL", 4, 5)) + frame(1, 5, 1, block()))
    got = b""
    while not got.endswith(b"}"):
        said = await raw.frames_until(DataFrame)
        assert isinstance(said, DataFrame)
        assert len(said.data) <= 5
        got += said.data
        raw.writer.write(frame(8, 0, 1, pack(">L", 5)))
    assert got == b'{"reason":"MissingProviderToken"}'


async def test_a_large_body_fits(sandbox: Sandbox) -> None:
    """A body larger than every window passes, since the windows are topped up while it comes."""
    async with H2Client(sandbox.urls.sendgrid, sandbox.ca_file) as client:
        body = b"x" * (3 * 1024 * 1024)
        got = await client.request("/v3/mail/send", body, {"content-type": "application/json"})
    assert got.status == 401


async def test_connections_are_bounded(sandbox: Sandbox) -> None:
    """Over the limit a connection is closed at once, and room comes back when others leave."""
    opened = [await _open(sandbox.urls.apns, sandbox.ca_file) for _ in range(CONNECTIONS_MAX)]
    reader, writer = await _open(sandbox.urls.apns, sandbox.ca_file)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(reader.readexactly(9), 5)
    for _, one in [*opened, (reader, writer)]:
        one.transport.abort()
    async with asyncio.timeout(5):
        while True:
            reader, writer = await _open(sandbox.urls.apns, sandbox.ca_file)
            try:
                assert await reader.readexactly(9)
                break
            except (asyncio.IncompleteReadError, ConnectionError):
                await asyncio.sleep(0.01)
    writer.transport.abort()
