"""The HTTP/1.1 transport against a real server: what is known of each request, by its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateways.either import EitherTransport
from gateways.http1 import Http1Transport
from gateways.http1.client import BODY_BYTES_MAX
from gateways.http2 import Http2Transport
from gateways.http2.dial import DialFailed
from gateways.transport import Answer, NoAnswer, NotSent, Request, Result
from tests.fixtures.certificates import Certificates
from tests.fixtures.webserver import serving


class Server:
    """Answers by the last part of the path; keeps what it saw."""

    def __init__(self) -> None:
        self.url, self.port = "", 0
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.open = self.open_max = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        try:
            body = await request.read()
            self.seen.append((request.path_qs, {k.lower(): v for k, v in request.headers.items()}, body))
            return await self._answer(request, request.path.rpartition("/")[2], body)
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request, verb: str, body: bytes) -> web.StreamResponse:
        match verb:
            case "hang":
                await asyncio.Event().wait()
            case "cut":
                assert request.transport is not None
                request.transport.close()
            case "redirect":
                raise web.HTTPTemporaryRedirect(self.url + "/echo")
            case "endless":
                return web.Response(status=400, body=b"x" * (BODY_BYTES_MAX + 100_000))
            case "trickle":
                answer = web.StreamResponse(status=500)
                await answer.prepare(request)
                while True:
                    await answer.write(b".")
                    await asyncio.sleep(0.02)
            case "slow":
                await asyncio.sleep(0.05)
            case _:
                pass
        return web.Response(status=201, body=body, headers={"X-Thing": "1"})


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Server]:
    server, app = Server(), web.Application(client_max_size=2**22)
    app.router.add_route("*", "/{tail:.*}", server.take)
    async with serving(app, tls=certificates.server("http/1.1"), shutdown_timeout=0.1) as url:
        server.port = int(url.rpartition(":")[2])
        server.url = f"https://localhost:{server.port}"
        yield server


@pytest.fixture
async def transport(server: Server, certificates: Certificates) -> AsyncIterator[Http1Transport]:
    transport = Http1Transport(server.url, ca_file=certificates.ca_file, constants=((b"x-key", b"one"),))
    yield transport
    await transport.aclose()


async def post(transport: Any, *verbs: str, deadline_s: float = 5.0, body: bytes = b"hello") -> list[Result]:
    made = [Request(f"/{verb}".encode(), body, ((b"x-own", verb.encode()),)) for verb in verbs]
    results: list[Result] = await transport.post_many(
        made, headers=((b"x-shared", b"s"),), deadline_s=deadline_s
    )
    return results


async def test_answers(transport: Http1Transport, server: Server) -> None:
    """Status, body, headers in lower case; constant, shared and own headers arrive."""
    [result] = await post(transport, "echo")
    assert isinstance(result, Answer)
    assert (result.status, result.body, result.complete) == (201, b"hello", True)
    assert result.headers["x-thing"] == "1"
    [(_, headers, _)] = server.seen
    assert (headers["x-key"], headers["x-shared"], headers["x-own"]) == ("one", "s", "echo")
    transport.set_header(b"x-key", b"two")
    await post(transport, "echo")
    assert server.seen[-1][1]["x-key"] == "two"


async def test_paths_go_out_as_they_are(transport: Http1Transport, server: Server) -> None:
    """Neither decoded nor encoded again."""
    await post(transport, "a%2Fb?x=%2B&y=a:b")
    assert server.seen[0][0] == "/a%2Fb?x=%2B&y=a:b"


async def test_a_request_without_answer(transport: Http1Transport) -> None:
    """It has left, so nobody knows; on time, and the others of the slice have theirs."""
    started = time.monotonic()
    results = await post(transport, "hang", "echo", deadline_s=0.4)
    assert time.monotonic() - started < 1.2
    assert results[0] == NoAnswer("deadline")
    assert isinstance(results[1], Answer)


async def test_a_connection_that_is_cut(transport: Http1Transport) -> None:
    """Likewise."""
    [result] = await post(transport, "cut")
    assert isinstance(result, NoAnswer)
    assert result.code == "connection"


async def test_a_trickle(transport: Http1Transport) -> None:
    """The status that came counts, the rest is cut off on time."""
    started = time.monotonic()
    [result] = await post(transport, "trickle", deadline_s=0.4)
    assert time.monotonic() - started < 1.2
    assert isinstance(result, Answer)
    assert (result.status, result.complete) == (500, False)


async def test_a_body_without_end(transport: Http1Transport) -> None:
    """Kept up to a bound."""
    [result] = await post(transport, "endless")
    assert isinstance(result, Answer)
    assert not result.complete
    assert len(result.body) < 2 * BODY_BYTES_MAX + 1


async def test_a_redirect(transport: Http1Transport, server: Server) -> None:
    """Never followed."""
    [result] = await post(transport, "redirect")
    assert isinstance(result, Answer)
    assert result.status == 307
    assert len(server.seen) == 1


async def test_no_time_left(transport: Http1Transport, server: Server) -> None:
    """Nothing is sent."""
    assert await post(transport, "echo", deadline_s=0.0) == [NotSent("deadline")]
    assert not server.seen


async def test_nobody_there(certificates: Certificates, unused_tcp_port: int) -> None:
    """Certainly not sent."""
    transport = Http1Transport(f"https://localhost:{unused_tcp_port}", ca_file=certificates.ca_file)
    [result] = await post(transport, "echo")
    assert isinstance(result, NotSent)
    assert result.code == "connect"
    await transport.aclose()


async def test_a_foreign_authority(server: Server, tmp_path: Path) -> None:
    """Certainly not sent, and said so."""
    transport = Http1Transport(server.url, ca_file=Certificates(tmp_path / "other", "localhost").ca_file)
    [result] = await post(transport, "echo")
    assert isinstance(result, NotSent)
    assert result.code == "tls"
    assert not server.seen
    await transport.aclose()


async def test_a_bounded_number_in_flight(server: Server, certificates: Certificates) -> None:
    """However many there are in a slice, in order."""
    transport = Http1Transport(server.url, ca_file=certificates.ca_file, in_flight_max=3)
    results = await post(transport, *["slow"] * 20)
    assert all(isinstance(result, Answer) for result in results)
    assert 1 < server.open_max <= 3
    await transport.aclose()


async def test_a_name_leads_where_the_resolver_says(server: Server, certificates: Certificates) -> None:
    """The address is the resolver's, name and certificate are the URL's; what it refuses is not sent."""
    asked: list[tuple[str, int]] = []

    async def here(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    url = f"https://push.example:{server.port}"
    transport = Http1Transport(url, ca_file=certificates.ca_file, resolve=here)
    [result] = await post(transport, "echo")
    assert isinstance(result, Answer)
    assert server.seen[0][1]["host"] == f"push.example:{server.port}"
    assert asked == [("push.example", server.port)]
    await transport.aclose()

    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise DialFailed("private-address", "no")

    transport = Http1Transport(url, ca_file=certificates.ca_file, resolve=nowhere)
    [result] = await post(transport, "echo")
    assert isinstance(result, NotSent)
    assert result.code == "private-address"
    await transport.aclose()


async def test_a_peer_that_speaks_only_this(server: Server, certificates: Certificates) -> None:
    """Asked for HTTP/2 once, then spoken to as it likes; each request arrives once, with the newest headers."""
    older: list[Http1Transport] = []

    def open_older() -> Http1Transport:
        older.append(Http1Transport(server.url, ca_file=certificates.ca_file))
        return older[-1]

    transport = EitherTransport(Http2Transport(server.url, ca_file=certificates.ca_file), open_older)
    transport.set_header(b"authorization", b"first")
    results = await post(transport, "echo", "echo")
    assert [type(result) for result in results] == [Answer, Answer]
    transport.set_header(b"authorization", b"second")
    await post(transport, "echo")
    assert [headers["authorization"] for _, headers, _ in server.seen] == ["first", "first", "second"]
    assert len(older) == 1
    await transport.aclose()
