"""What a connection may take before anybody has shown a token: so many bytes of a head, and so much time for one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from api.http.bounded import HEAD_BYTES_MAX
from api.http.lane import Lane
from api.http.security import SECURITY
from tests.memory.site import eventually, site
from tests.memory.wire import Connection, Told

LINE = b"GET /bodiless HTTP/1.1\r\n"
SHORT = b"".join(b"x-%d: y\r\n" % number for number in range(HEAD_BYTES_MAX // 8))
LONG = b"x: %b\r\n" % (b"y" * HEAD_BYTES_MAX)
CHUNKED = b"POST /whole HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "fields": LINE + SHORT + b"\r\n",
    "a field": LINE + LONG + b"\r\n",
    "a name": LINE + b"x" * (HEAD_BYTES_MAX + 1) + b": y\r\n\r\n",
    "an address": b"GET /bodiless?%b HTTP/1.1\r\n\r\n" % (b"y" * HEAD_BYTES_MAX),
    "an upgrade": LINE + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + LONG + b"\r\n",
    "a trailer": CHUNKED + b"2\r\n{}\r\n0\r\n" + LONG + b"\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\n" + SHORT + b"\r\n",
}
"""Each a request of HTTP/1.1, and over the bound."""


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def problem(done: Sequence[bytes | str]) -> tuple[int, str, Any]:
    """What was answered last: its status, media type and content; then the connection was closed."""
    answer, end = done
    assert isinstance(answer, bytes)
    assert end == "closed"
    start = answer.rindex(b"HTTP/1.1 ")
    head, _, content = answer[start:].partition(b"\r\n\r\n")
    fields = dict(re.findall(rb"(?m)^([a-z-]+): (.*?)\r?$", head))
    said = msgspec.json.decode(content)
    assert fields[b"x-request-id"].decode() == said["request_id"]
    assert int(fields[b"content-length"]) == len(content)
    assert fields[b"connection"] == b"close"
    assert dict(SECURITY).items() <= fields.items()
    return int(head.split()[1]), fields[b"content-type"].decode(), said


@pytest.mark.parametrize("size", [1_000, 50_000, 250_000])
@pytest.mark.parametrize("what", WHOLE)
async def test_a_head_over_64_kib_is_refused(what: str, size: int) -> None:
    """431 and the end of the connection, whatever is too long and in whatever pieces it comes."""
    app = Told()
    connection = Connection(Lane, app)
    done = await connection.send(pieces_of(WHOLE[what], size))
    status, media_type, said = problem(done)
    assert (status, media_type) == (431, "application/problem+json")
    assert (said["code"], said["type"]) == ("head-too-large", "/docs/errors#head-too-large")
    await connection.lose()


@pytest.mark.parametrize(
    "beginning", [LINE, LINE + b"x: ", b"GET /", CHUNKED + b"2;", CHUNKED + b"2\r\n{}\r\n0\r\nx: "]
)
async def test_an_unfinished_head_is_not_kept(beginning: bytes) -> None:
    """Nothing grows beyond the bound in wait for an end that never comes, in the parser neither."""
    connection = Connection(Lane, Told())
    sent = 0
    await connection.send([beginning])
    while "closed" not in connection.wire.done:
        assert sent <= 2 * HEAD_BYTES_MAX
        more = b"a: b\r\n" * 100 if beginning is LINE else b"y" * 600
        await connection.send([more])
        sent += len(more)
    assert sent > HEAD_BYTES_MAX - 1_000
    assert problem(connection.wire.done)[0] == 431
    await connection.lose()


@pytest.mark.parametrize("size", [700, 16_384, 250_000])
@pytest.mark.parametrize("more", [b"", b"Expect: nothing\r\n"])
async def test_a_head_of_64_kib_passes(size: int, more: bytes) -> None:
    """Plain or not, whole or in pieces, again and again on one connection, and with a body behind it."""
    count = 90_000
    fields = b"Host: x\r\nContent-Length: %d\r\n%b" % (count, more)
    head = b"POST /whole HTTP/1.1\r\n" + fields
    filling = b"x: %b\r\n\r\n" % (b"y" * (HEAD_BYTES_MAX - len(head) - 7))
    whole = head + filling
    assert len(whole) == HEAD_BYTES_MAX
    connection = Connection(Lane, Told())
    for _ in range(2):
        await connection.send(pieces_of(whole + b"{" * count, size))
        await connection.idle()
    (answers,) = connection.wire.done
    assert isinstance(answers, bytes)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200"]
    await connection.lose()


class Hasty(Lane):
    head_s_max = 0.05


@pytest.mark.parametrize("before", [b"", LINE + b"\r\n"])
async def test_a_head_that_stalls_is_refused(before: bytes) -> None:
    """408 once it has had its time, however often a byte of it comes; on new connections and on old ones."""
    connection = Connection(Hasty, Told())
    await connection.send([before + LINE])
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while "closed" not in connection.wire.done:
        await connection.send([b"x: y\r\n"])
        assert loop.time() < began_s + 5
    assert loop.time() >= began_s + 0.04
    status, media_type, said = problem(connection.wire.done)
    assert (status, media_type, said["code"]) == (408, "application/problem+json", "head-too-slow")
    assert said["retryable"]
    await connection.lose()


async def test_who_says_nothing_at_all_is_told_nothing() -> None:
    """A new connection without a byte ends in the same time."""
    connection = Connection(Hasty, Told())
    await eventually(lambda: connection.wire.done == ["closed"])
    await connection.lose()


async def test_an_answer_under_way_is_not_cut_off() -> None:
    """The head of the next request counts from the end of the answer to the one before."""
    app = Told()
    connection = Connection(Hasty, app)
    await connection.send([b"GET /held HTTP/1.1\r\n\r\n" + LINE])
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await eventually(lambda: loop.time() > began_s + 0.12)
    assert connection.wire.done == []
    app.release.set()
    await connection.idle()
    await connection.send([b"\r\n"])
    (answers,) = connection.wire.done
    assert isinstance(answers, bytes)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"204"]
    await connection.lose()


async def test_a_body_that_nobody_reads_does_not_hold_the_connection() -> None:
    """Once its request is answered the connection is idle, whatever still dribbles in."""
    connection = Connection(Lane, Told(), timeout_keep_alive=1)
    connection.protocol.timeout_keep_alive = 0.05  # type: ignore[assignment]
    await connection.send([b"POST /unread HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"])
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while "closed" not in connection.wire.done:
        await connection.send([b"x"])
        assert loop.time() < began_s + 5
    await connection.lose()


@pytest.mark.parametrize(
    "data",
    [b"FOO /ping HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n"],
)
async def test_what_is_no_request_is_a_problem(data: bytes) -> None:
    """400 with a code and an id of its own, as everything else that goes wrong, and the end of the connection."""
    async with site() as it:
        connection = Connection(Lane, it.app)
        status, media_type, said = problem(await connection.send([data]))
        assert (status, media_type, said["code"]) == (400, "application/problem+json", "malformed")
        await connection.lose()


async def test_a_lost_connection_leaves_no_timers() -> None:
    """The protocol is not kept for as long as a head might have come."""
    connection = Connection(Lane, Told())
    timer = connection.protocol._head_timer  # type: ignore[attr-defined]
    await connection.lose()
    assert timer.cancelled()
