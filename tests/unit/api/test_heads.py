"""Heads that come again: answered as if each were parsed, and remembered in a bounded room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api import heads
from api.heads import Heads, Remembered
from api.lane import Lane
from tests.memory.site import site, token
from tests.memory.wire import Connection, Told

REQUESTS = tuple(
    line.replace(b"\n", b"\r\n")
    for line in (
        b"POST /whole HTTP/1.1\nHost: a\nContent-Length: 4\n\nbody",
        b"POST /whole HTTP/1.1\nHost: a\nContent-Length: 4\n\n\n\n",
        b"POST /whole HTTP/1.1\nHost: a\nContent-Length: 4\n\nGET ",
        b"POST /later HTTP/1.1\nHost: a\ncontent-length:  2 \nX-Forwarded-For: 192.0.2.7\n\nab",
        b"POST /pieces HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc",
        b"POST /whole HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n1\na\n0\n\n",
        b"POST /whole HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 1\n\na",
        b"GET /unread?a=b HTTP/1.1\nHost: a\n\n",
        b"\nGET /unread HTTP/1.1\nHost: a\n\n",
        b"\n\nGET /unread HTTP/1.1\nHost: a\n\n",
        b"GET /bodiless HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: h2c\n\n",
        b"GET /bodiless HTTP/1.0\nHost: a\nConnection: keep-alive\n\n",
        b"GET /bodiless HTTP/1.1\nHost: a\nConnection: close\n\n",
        b"HEAD /whole HTTP/1.1\nHost: a\n\n",
        b"GET /error HTTP/1.1\nHost: a\n\n",
        b"POST /large HTTP/1.1\nHost: a\nContent-Length: 70000\n\n" + b"x" * 70_000,
        b"GET /held HTTP/1.1\nHost: a\n\n",
        b"POST /whole HTTP/1.1\nHost: a\nContent-Length: 33\n\nGET /unread HTTP/1.1\nHost: a\n\n",
        b"GET /unread HTTP/1.1\nHost: a\n\n",
        b"\n\nPOST /later HTTP/1.1\nContent-Length: 44\n\n" + b"b" * 44,
        b"nonsense\n\n",
    )
)


@st.composite
def repeats(draw: st.DrawFn) -> list[bytes]:
    """A few requests, again and again: whole, cut, or joined with the next."""
    few = draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3))
    pieces: list[bytes] = []
    for request in draw(st.lists(st.sampled_from(few), min_size=1, max_size=12)):
        match draw(st.sampled_from(["whole", "whole", "whole", "cut", "joined"])):
            case "cut":
                head = request.find(b"\r\n\r\n", 4) + 4
                end = min(
                    draw(st.sampled_from([head, draw(st.integers(1, len(request) - 1))])), len(request) - 1
                )
                pieces += [request[:end], request[end:]]
            case "joined" if pieces:
                pieces[-1] += request
            case _:
                pieces.append(request)
    return pieces


async def outcome(protocol: type[HttpToolsProtocol], pieces: list[bytes], peer: str) -> list[Any]:
    """On as many connections, one after the other, as the server asks for."""
    app = Told()
    connection = Connection(protocol, app, peer=peer)
    done = []
    for piece in pieces:
        if connection.wire.is_closing():
            done += connection.wire.done
            connection = Connection(protocol, app, peer=peer, state=connection.state)
        await connection.send([piece])
    total = connection.state.total_requests
    await connection.lose()
    return [*done, *connection.wire.done, app.seen, total]


GET = b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n"
BLANK_THEN_HEAD = b"\r\n\r\nPOST /later HTTP/1.1\r\nContent-Length: 44\r\n\r\n"


@given(repeats(), st.sampled_from(["127.0.0.1", "203.0.113.9"]))
@example([BLANK_THEN_HEAD, b"b" * 44] * 3, "127.0.0.1")
@example([GET, GET, b"POST /unread HTTP/1.1\r\nContent-Length: 33\r\n\r\n", GET], "127.0.0.1")
@example([GET, GET, b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n", GET], "127.0.0.1")
@settings(max_examples=300, deadline=None)
def test_requests_that_come_again_are_answered_as_by_uvicorn(pieces: list[bytes], peer: str) -> None:
    """Whatever is between them, byte for byte."""
    plain = asyncio.run(outcome(HttpToolsProtocol, pieces, peer))
    assert asyncio.run(outcome(Lane, pieces, peer)) == plain


class Parser:
    """The connection's own, with a count of what it was fed."""

    def __init__(self, parser: Any) -> None:
        self._parser, self.fed = parser, 0

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


@pytest.mark.parametrize("request_", [REQUESTS[0], REQUESTS[7]])
async def test_a_head_is_parsed_twice_and_then_known(request_: bytes) -> None:
    """On all connections of a server; another length of the body is another head."""
    first = Connection(Lane, Told())
    second = Connection(Lane, Told(), state=first.state)
    for connection, times in ((first, 2), (second, 0)):
        parser = Parser(connection.protocol.parser)
        connection.protocol.parser = parser  # type: ignore[assignment]
        await connection.send([request_] * 5)
        assert parser.fed == times
        await connection.send([REQUESTS[3]])
        assert parser.fed == times + 1
    assert first.state.total_requests == 12
    for connection in (first, second):
        await connection.lose()


async def test_each_request_has_an_id_of_its_own_and_the_rights_of_its_token() -> None:
    """As often as a head comes: nothing of one answer is in the next."""
    async with site() as it:
        connection = Connection(Lane, it.app)
        bearer = f"Authorization: Bearer {token('ann')}"
        ask = f"GET /api/v2/threads HTTP/1.1\r\nHost: msgxc\r\n{bearer}\r\n\r\n".encode()
        ids = set()
        for _ in range(5):
            connection.wire.done.clear()
            connection.protocol.data_received(ask)
            await connection.idle()
            (answer,) = connection.wire.done
            assert isinstance(answer, bytes)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.count(b"x-request-id") == 1
            ids.add(answer.partition(b"x-request-id: ")[2][:32])
        assert len(ids) == 5
        await connection.lose()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that came once are not kept, nor long ones; of the others the newest are."""
    monkeypatch.setattr(heads, "HEADS_MAX", 3)
    monkeypatch.setattr(heads, "ONCE_MAX", 10)
    known = Heads()
    raws = [b"head %d" % number for number in range(5)]
    assert not any(known.is_worth_it(raw) for raw in raws)
    assert all(known.is_worth_it(raw) for raw in raws)
    for raw in raws:
        known.keep(raw, Remembered({}, 0, forwarded=False))
    assert [raw for raw in raws if known.find(raw) is not None] == raws[2:]
    for number in range(20):
        known.is_worth_it(b"another %d" % number)
    assert len(known._once) <= 10
    long = b"x" * (heads.HEAD_BYTES_MAX + 1)
    assert not any(known.is_worth_it(long) for _ in range(3))
