"""The lane answers as uvicorn's own protocol does: the same requests through both, compared byte for byte."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.lane import Lane
from api.parts import Settings
from tests.memory.site import EVER_S, PATIENCE_S, eventually, site, token
from tests.memory.wire import Connection, Plain, Told, nameless, turns

WAYS = (
    *(
        "whole",
        "unread",
        "later",
        "bodiless",
        "large",
        "split",
        "named",
        "twice",
        "pieces",
        "error",
        "broken",
    ),
    *("silent", "whole?a=b", "a%20b/whole?%20#c", "%C3%A4/whole", "/whole", "%2f/whole", "whole#c"),
)
names = st.text("abcXYZ-09_", min_size=1, max_size=12).map(lambda name: f"x-{name}")
values = st.text(st.characters(codec="latin-1", categories=["L", "N", "P"]), max_size=20)
known = st.sampled_from(
    [
        ("Expect", "100-continue"),
        ("expect", "100-Continue"),
        ("Expect", "something"),
        ("Connection", "close"),
        ("Connection", "keep-alive"),
        ("Upgrade", "h2c"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "192.0.2.7, 127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("x-forwarded-proto", "nonsense"),
        ("Cookie", ""),
        ("Accept", "text/html\t,*/*"),
    ]
)
bodies = st.one_of(st.none(), st.binary(max_size=40), st.sampled_from([b"x" * 70_000, b"x" * 120_000]))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request as bytes: any method, way, version, headers, and a body with a length or in chunks."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE"]))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    body = draw(bodies)
    lines = [f"{method} /{draw(st.sampled_from(WAYS))} HTTP/{version}", "Host: msgxc.example"]
    lines += [
        f"{name}: {value}"
        for name, value in draw(st.lists(st.one_of(known, st.tuples(names, values)), max_size=4))
    ]
    content = b""
    if body is not None and draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        content = body
    elif body is not None:
        size = draw(st.integers(1, 30)) if len(body) < 100 else 50_000
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        lines.append("Transfer-Encoding: chunked")
        content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@st.composite
def deliveries(draw: st.DrawFn) -> list[bytes]:
    """A few requests, perhaps with nonsense behind them, in pieces cut anywhere."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=4)))
    data += draw(st.sampled_from([b"", b"", b"", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost"]))
    return cut(data, draw(st.lists(st.integers(0, len(data)), max_size=6)))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted(min(place, len(data)) for place in places)
    edges = zip([0, *cuts], [*cuts, len(data)], strict=True)
    return [data[start:end] for start, end in edges if start < end]


async def both(pieces: Sequence[bytes], **options: Any) -> tuple[list[Any], list[Any]]:
    """What was done and seen about these pieces, by uvicorn's own protocol and in the lane."""
    outcomes = []
    for protocol in (Plain, Lane):
        app = Told()
        connection = Connection(protocol, app, **options)
        done = nameless(await connection.send(pieces))
        total = connection.state.total_requests
        await connection.lose()
        outcomes.append([*done, app.seen, total])
    return outcomes[0], outcomes[1]


SERVERS = st.fixed_dictionaries(
    {},
    optional={
        "root_path": st.just("/root"),
        "limit_concurrency": st.just(1),
        "proxy_headers": st.just(False),
        "forwarded_allow_ips": st.just("*"),
        "reset_contextvars": st.just(True),
    },
)
"""What an operator may set of uvicorn."""


@given(deliveries(), st.sampled_from(["127.0.0.1", "203.0.113.9"]), SERVERS)
@settings(max_examples=400, deadline=None)
def test_any_requests_are_answered_as_by_uvicorn(
    pieces: list[bytes], peer: str, options: dict[str, Any]
) -> None:
    """Whatever the requests, however they are cut, from a proxy that is believed and from others."""
    plain, lane = asyncio.run(both(pieces, peer=peer, **options))
    assert lane == plain


OFFER = b"Connection: HTTP2-Settings, Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
"""What Java's HTTP client says to every server without TLS that it has not met before."""


@given(
    st.lists(requests().filter(lambda request: b"Upgrade" not in request), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 150)), max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_an_offer_of_another_protocol_is_none(plain: list[bytes], places: list[tuple[int, int]]) -> None:
    """A request that makes it is answered as without it, body and all (RFC 9110, section 7.8); uvicorn drops that.

    Both are cut at the same places: what comes together may show, as uvicorn's own answers do.
    """
    offering = [request.replace(b"\r\n", b"\r\n" + OFFER, 1) for request in plain]
    without, with_offer = list[int](), list[int]()
    for which, place in places:
        number = which % len(plain)
        at = min(place, len(plain[number]))
        is_before = at < plain[number].index(b"\r\n") and at % 2 == 0
        without.append(sum(map(len, plain[:number])) + at)
        with_offer.append(sum(map(len, offering[:number])) + at + (0 if is_before or not at else len(OFFER)))

    async def answered(data: bytes, places: list[int]) -> list[Any]:
        app = Told()
        connection = Connection(Lane, app)
        done = nameless(await connection.send(cut(data, places)))
        await connection.lose()
        return [*done, app.seen]

    expected = asyncio.run(answered(b"".join(plain), without))
    assert asyncio.run(answered(b"".join(offering), with_offer)) == expected


PROTOCOLS = (HttpToolsProtocol, Lane)
GET = b"GET /%b HTTP/1.1\r\nHost: msgxc.example\r\n\r\n"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_thousands_of_requests_in_one_piece(protocol: type[HttpToolsProtocol]) -> None:
    """Each is answered, in order, and none inside the one before it."""
    count = 3_000
    connection = Connection(protocol, Told())
    await connection.send([b"".join(GET % b"unread?%d" % number for number in range(count))])
    await eventually(lambda: connection.state.total_requests == count)
    (answers,) = connection.wire.done
    assert isinstance(answers, bytes)
    assert re.findall(rb'"/unread", "(\d+)"', answers) == [b"%d" % number for number in range(count)]
    await connection.lose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nothing_is_written_while_the_caller_does_not_read(protocol: type[HttpToolsProtocol]) -> None:
    """The answer waits until the buffer has room, and comes then."""
    connection = Connection(protocol, Told())
    connection.protocol.pause_writing()
    assert await connection.send([GET % b"bodiless"]) == []
    assert len(connection.state.tasks) == 1
    connection.protocol.resume_writing()
    await turns()
    assert len(connection.wire.done) == 1
    assert not connection.state.tasks
    await connection.lose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("request_", "seen"),
    [
        (GET % b"held", ["held", "ClientGone", "over"]),
        (b"POST /whole HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", ["ClientGone"]),
        (b"POST /pieces HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", [{"type": "http.disconnect"}]),
    ],
)
async def test_who_hangs_up_is_told_nothing(
    protocol: type[HttpToolsProtocol], request_: bytes, seen: list[Any]
) -> None:
    """The application learns of it when it asks, or goes on; nothing is written to the connection any more."""
    app = Told()
    connection = Connection(protocol, app)
    await connection.send([request_])
    before = list(connection.wire.done)
    connection.wire.protocol = None
    connection.protocol.connection_lost(None)
    app.release.set()
    await turns()
    assert [each for each in connection.wire.done if each != "closed"] == before
    assert app.seen == seen
    assert not connection.state.tasks


async def test_hanging_up() -> None:
    """The lane closes the connection at once, without an answer."""
    app = Told()
    connection = Connection(Lane, app)
    assert await connection.send([GET % b"hung"]) == ["aborted"]
    assert app.seen == [True]
    await connection.lose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_idle_connections_are_closed_in_time(protocol: type[HttpToolsProtocol]) -> None:
    """Counted from the last answer: requests keep a connection open, and one under way keeps it open for itself."""
    app = Told()
    connection = Connection(protocol, app, timeout_keep_alive=1)
    connection.protocol.timeout_keep_alive = 0.05  # type: ignore[assignment]
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() < began_s + 0.12:
        await connection.send([GET % b"bodiless"])
    assert "closed" not in connection.wire.done
    await connection.send([GET % b"held"])
    held_s = loop.time()
    await eventually(lambda: loop.time() > held_s + 0.12)
    assert "closed" not in connection.wire.done
    app.release.set()
    answered_s = loop.time()
    await eventually(lambda: "closed" in connection.wire.done)
    assert loop.time() >= answered_s + 0.04
    await connection.lose()


async def test_a_lost_connection_leaves_no_timer() -> None:
    """The protocol is not kept for as long as the connection might have been idle."""
    connection = Connection(Lane, Told())
    await connection.send([GET % b"bodiless"])
    assert connection.protocol.timeout_keep_alive_task is not None
    timer = connection.protocol.timeout_keep_alive_task
    await connection.lose()
    assert timer.cancelled()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[uvicorn.Server, int, asyncio.Task[None]]]:
    """In the lane, on a free port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=Lane, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        await eventually(lambda: server.started)
        try:
            yield server, bound.getsockname()[1], serving
        finally:
            server.should_exit = True
            await serving


async def test_a_server_that_stops_finishes_what_is_under_way() -> None:
    """An idle connection is closed at once; one with a request gets its answer first, and is told that it ends."""
    app = Told()
    async with served(app) as (server, port, serving):
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", port)
        busy_writer.write(GET % b"held")
        await eventually(lambda: app.seen == ["held"])
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_S):
            assert await idle.read() == b""
            assert not serving.done()
            app.release.set()
            answer = await busy.read()
            await serving
        assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
        assert b"\r\nconnection: close\r\n\r\n" in answer
        for writer in (idle_writer, busy_writer):
            writer.close()


ORIGIN = "Origin: https://shop.example\r\n"
CALLS = (
    ("GET", "/ping", "", b""),
    ("HEAD", "/ping", ORIGIN, b""),
    ("GET", "/nowhere", ORIGIN, b""),
    ("GET", "/api/v2/threads/", "", b""),
    ("PATCH", "/api/v2/threads", "", b""),
    ("OPTIONS", "/api/v2/threads", "", b""),
    ("OPTIONS", "/api/v2/publish", ORIGIN + "Access-Control-Request-Method: POST\r\n", b""),
    ("OPTIONS", "/v3/apps/EMS/client", ORIGIN + "Access-Control-Request-Method: POST\r\n", b""),
    ("GET", "/api/v2/threads", "X-Request-Id: order-66\r\n", b""),
    ("POST", "/api/v2/threads", "", b'{"tid":"a"}'),
    ("POST", "/api/v2/threads", "", b'{"tid":"a"}'),
    ("POST", "/api/v2/threads", "", b'{"tid":'),
    ("POST", "/api/v2/publish", "", b'{"tid":"a","msg":"hello"}'),
    ("POST", "/api/v2/publish", "Idempotency-Key: one two\r\n", b'{"tid":"a","msg":"hello"}'),
    ("POST", "/api/v2/publish", "Expect: 100-continue\r\n", b'{"tid":"a","msg":"hello"}'),
    ("POST", "/v4/apps/EMS/client/events", "EC-Client-Id: x\r\n", b"{}"),
    ("GET", "/docs", "", b""),
    ("GET", "/api/v2/threads", "", b""),
    ("GET", "/api/v2/threads", "", b""),
    ("POST", "/api/v2/publish", "", b" " * 300_000),
)
CHANGING = re.compile(rb"[0-9a-f]{32}|[0-9a-f-]{36}|t=\d+|retry-after: \d+|in \d+ s|[0-9:.T-]+Z")
"""Ids and times."""


def request(method: str, path: str, fields: str, body: bytes) -> bytes:
    """By Ann. fields: further lines of the head."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    bearer = f"Authorization: Bearer {token('ann')}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: msgxc\r\n{bearer}{fields}{length}\r\n".encode() + body


async def test_the_api_answers_the_same() -> None:
    """Every kind of answer it has: of endpoints, of what Starlette routes, problems, preflights, limits."""
    outcomes = []
    for protocol in PROTOCOLS:
        async with site(
            settings=Settings(cors_origins=("https://shop.example",), rate_quota=12, rate_window_s=EVER_S)
        ) as it:
            connection = Connection(protocol, it.app, server_header=False)
            for call in CALLS:
                connection.protocol.data_received(request(*call))
                await connection.idle()
            (answers, *end) = connection.wire.done
            assert isinstance(answers, bytes)
            statuses = [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answers)]
            outcomes.append((CHANGING.sub(b"", answers), end, statuses))
            await connection.lose()
    assert outcomes[1] == outcomes[0]
    assert {100, 200, 201, 204, 400, 404, 405, 413, 422} <= set(outcomes[1][2]), outcomes[1][2]
    assert outcomes[1][1] == ["closed"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_unexpected_error_is_answered_and_logged(
    protocol: type[HttpToolsProtocol], caplog: pytest.LogCaptureFixture
) -> None:
    """A problem that tells nothing, then the connection ends; the reason is logged once."""
    async with site() as it:
        it.world.own.store.fail.append(RuntimeError("secret detail"))  # type: ignore[arg-type]
        connection = Connection(protocol, it.app)
        done = await connection.send([request("POST", "/api/v2/threads", "", b'{"tid":"a"}')])
        await connection.idle()
        answer, *end = done
        assert isinstance(answer, bytes)
        assert (re.findall(rb"HTTP/1.1 (\d+)", answer), end) == ([b"500"], ["closed"])
        assert b"secret" not in answer
        assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["secret detail"]
