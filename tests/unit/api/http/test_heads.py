"""Plain heads, and those that come again: answered as if each were parsed, and remembered in a bounded room."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from typing import Any

import httptools
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http import heads
from api.http.heads import BY_NAME, HEAD, Heads
from api.http.lane import Lane
from tests.memory.site import site, token
from tests.memory.wire import Connection, Plain, Told, nameless

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
    return [*nameless([*done, *connection.wire.done]), app.seen, total]


GET = b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n"
BLANK_THEN_HEAD = b"\r\n\r\nPOST /later HTTP/1.1\r\nContent-Length: 44\r\n\r\n"


@given(repeats(), st.sampled_from(["127.0.0.1", "203.0.113.9"]))
@example([BLANK_THEN_HEAD, b"b" * 44] * 3, "127.0.0.1")
@example([GET, GET, b"POST /unread HTTP/1.1\r\nContent-Length: 33\r\n\r\n", GET], "127.0.0.1")
@example([GET, GET, b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n", GET], "127.0.0.1")
@settings(max_examples=300, deadline=None)
def test_requests_that_come_again_are_answered_as_by_uvicorn(pieces: list[bytes], peer: str) -> None:
    """Whatever is between them, byte for byte."""
    plain = asyncio.run(outcome(Plain, pieces, peer))
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


@pytest.mark.parametrize(
    ("request_", "fed"), [(REQUESTS[0], 0), (GET, 0), (REQUESTS[5], 5), (REQUESTS[6], 5)]
)
async def test_plain_requests_need_no_parser(request_: bytes, fed: int) -> None:
    """Others do, each."""
    connection = Connection(Lane, Told())
    parser = Parser(connection.protocol.parser)
    connection.protocol.parser = parser  # type: ignore[assignment]
    await connection.send([request_] * 5)
    assert (parser.fed, connection.state.total_requests) == (fed, 5)
    await connection.lose()


class Parsed:
    """What uvicorn's parser makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.ends, self.fields = b"", b"", 0, list[tuple[bytes, bytes]]()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


FIELDS = [
    "Host: a",
    "x-a:b",
    "X_b!#$%&'*+.^`|~: a:b",
    "Cookie: a b\tc",
    "Accept:",
    "x-high: ÿ",
    "x-blank: ",
    "x-trailing: a \t ",
    "x-leading: \t a",
    "Te: chunked",
    "Trailer: x",
]
FIELDS += ["Content-Length: 3", "content-length:  03", "Connection: keep-alive", "connection: Keep-Alive"]
ODD_FIELDS = [
    "Host : a",
    " Host: a",
    ": a",
    "Connection: close",
    "Connection: keep-alive, x",
]
ODD_FIELDS += ["Content-Length:", "Content-Length: +3", "Content-Length: 3, 3", "Transfer-Encoding: chunked"]
ODD_FIELDS += ["Upgrade: websocket", "Proxy-Connection: close", "Expect: 100-continue"]
TARGETS = ("/", "/a/b?c=d", "//a", "/%41?", "/a?b?c", "/a?/../;:@,")
ODD_TARGETS = ("*", "http://a/b", "/a#b", "/a b", "", "/\xff")
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
ODD_METHODS = ("get", "CONNECT", "M-SEARCH")
VERSIONS, ODD_VERSIONS = ("1.1",), ("1.0", "2.0", "1.10", "1")


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """A head that is plain but for one thing, or altogether."""
    odd = draw(st.sampled_from(["", "", "", "method", "target", "version", "field", "bytes"]))
    method = draw(st.sampled_from(ODD_METHODS if odd == "method" else METHODS))
    target = draw(st.sampled_from(ODD_TARGETS if odd == "target" else TARGETS))
    version = draw(st.sampled_from(ODD_VERSIONS if odd == "version" else VERSIONS))
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique=odd != "field"))
    if odd == "field":
        fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(ODD_FIELDS)))
    lines = [f"{method} {target} HTTP/{version}", *fields, "", ""]
    head = bytearray("\r\n".join(lines).encode("latin-1"))
    for _ in range(draw(st.integers(1, 2)) if odd == "bytes" else 0):
        place = draw(st.integers(0, len(head) - 1))
        byte = draw(st.sampled_from([*b"\r\n\t :\x00\x7f\x80a/", *range(256)]))
        head[place : place + draw(st.integers(0, 1))] = bytes([byte]) * draw(st.integers(0, 2))
    return bytes(head)


@given(nearly_plain())
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(b"POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n")
@settings(max_examples=2_000, deadline=None)
def test_a_plain_head_is_read_as_uvicorns_parser_reads_it(raw: bytes) -> None:
    """Whatever is taken for plain: one whole request for both, with the same fields, and the connection goes on."""
    those = Heads("")
    plain = those.read(raw)
    event(f"plain: {plain is not None}")
    if plain is None:
        return
    assert raw.find(b"\r\n\r\n") == len(raw) - 4
    body = b"x" * plain.length
    parsed = Parsed(raw + body)
    assert (parsed.ends, parsed.body) == (1, body)
    assert parsed.parser.should_keep_alive()
    assert not parsed.parser.should_upgrade()
    scope: dict[str, Any] = {}
    plain.fill(scope)
    said = {"http_version", "method", "path", "raw_path", "query_string", "headers"}
    assert set(scope) == {*said, BY_NAME, HEAD}
    assert scope[HEAD] is plain
    assert parsed.parser.get_http_version() == scope["http_version"]
    assert parsed.parser.get_method().decode() == scope["method"]
    assert those.target(parsed.parser.get_method(), parsed.url) is plain.target
    assert scope["path"] == plain.target.path
    assert parsed.fields == scope["headers"]
    assert scope[BY_NAME] == dict(parsed.fields)


@pytest.mark.parametrize("template", [b"GET /a%b HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nx%by: a\r\n\r\n"])
def test_no_byte_that_uvicorns_parser_refuses_is_in_a_plain_head(template: bytes) -> None:
    """Neither in the address nor in a field's name; others may be left to that parser."""
    for raw in (template % bytes([byte]) for byte in range(256)):
        plain = Heads("").read(raw)
        assert plain is None or Parsed(raw).fields == plain.fields, raw


def test_a_fields_value_is_plain_if_uvicorns_parser_takes_it() -> None:
    """Whatever byte is in it."""
    for raw in (b"GET / HTTP/1.1\r\nx: a%bb\r\n\r\n" % bytes([byte]) for byte in range(256)):
        try:
            fields = Parsed(raw).fields
        except httptools.HttpParserError:
            fields = None
        plain = Heads("").read(raw)
        assert (plain and plain.fields) == fields, raw


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


async def test_a_request_leaves_nothing_to_collect() -> None:
    """Whether its head is new, known, or not plain: what was made for it goes with it, and no collector is needed."""
    connection = Connection(Lane, Told())
    await connection.send([GET, GET, GET])
    gc.collect()
    gc.disable()
    try:
        new = [b"GET /unread HTTP/1.1\r\nHost: %d\r\n\r\n" % number for number in range(5)]
        for request in (*new, GET, REQUESTS[5]):
            await connection.send([request])
            assert gc.collect() == 0, request
    finally:
        gc.enable()
    await connection.lose()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that came once are not kept, nor long ones; of the others the newest are."""
    monkeypatch.setattr(heads, "HEADS_MAX", 3)
    monkeypatch.setattr(heads, "ONCE_MAX", 10)
    monkeypatch.setattr(heads, "NAMES_MAX", 50)
    those = Heads("")
    raws = [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(5)]
    assert all(those.read(raw) for raw in raws)
    assert not any(those.known(raw) for raw in raws)
    again = [those.read(raw) for raw in raws]
    assert [those.known(raw) for raw in raws] == [None, None, *again[2:]]
    for number in range(20):
        those.read(b"GET /x%d HTTP/1.1\r\n\r\n" % number)
    assert len(those._once) <= 10
    long = b"GET / HTTP/1.1\r\nx: %b\r\n\r\n" % (b"x" * heads.KEPT_BYTES_MAX)
    wide = b"GET / HTTP/1.1\r\n%b\r\n" % b"".join(
        b"%d:\r\n" % number for number in range(heads.FIELDS_MAX + 1)
    )
    far = b"GET /%b HTTP/1.1\r\n\r\n" % (b"x" * heads.URL_BYTES_MAX)
    for raw in (long, wide, far):
        assert all(those.read(raw) for _ in range(3))
        assert not those.known(raw)
    for number in range(100):
        assert those.read(b"GET / HTTP/1.1\r\nX-%d: a\r\n%b: a\r\n\r\n" % (number, b"x" * (65 + number)))
    assert len(those._names) <= 50
    assert max(map(len, those._names)) <= heads.NAME_BYTES_MAX


def test_names_that_nobody_has_keep_no_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends names without end does not have the real ones worked out for each request from then on."""
    monkeypatch.setattr(heads, "NAMES_MAX", 50)
    those = Heads("")
    for number in range(50):
        assert those.read(b"GET / HTTP/1.1\r\nX-%d: a\r\n\r\n" % number)
    assert those.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Host" in those._names


@pytest.mark.parametrize(("fields", "chars"), [(heads.FIELDS_MAX, 40), (heads.FIELDS_MAX, 0), (3, 600)])
def test_a_head_takes_no_more_room_than_is_said(fields: int, chars: int) -> None:
    """Six times the longest, itself included, whatever is in it."""
    those, number = Heads(""), 200
    rest = b"".join(b"x-%d:%b\r\n" % (place, b"x" * chars) for place in range(fields))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for path in range(number):
            raw = b"GET /%d HTTP/1.1\r\n%b\r\n" % (path, rest)
            assert those.read(raw)
            assert those.read(raw) is those.known(raw)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= number * 6 * heads.KEPT_BYTES_MAX


@pytest.mark.parametrize(
    "path", ["/api/v2/threads", "/api/v2/%ff", "/api/v2/threads/a%2Fb", "/nothing", "/v4/apps/a/client"]
)
async def test_a_head_that_is_remembered_holds_no_connection(path: str) -> None:
    """Nor what the first request with it sent, however it was answered."""
    head = f"POST {path} HTTP/1.1\r\nHost: msgxc\r\nContent-Length: 9\r\n\r\n".encode()
    async with site() as it:
        state, gone = None, []
        for _ in range(3):
            connection = Connection(Lane, it.app, state=state)
            state = connection.state
            await connection.send([head + b"x" * 9])
            await connection.idle()
            assert connection.wire.done
            await connection.lose()
            gone.append(weakref.ref(connection.protocol))
            del connection
        gc.collect()
        assert [each() for each in gone] == [None] * 3
