"""The HTTP/2 client against hyper-h2: nothing hangs, nothing is answered for another, every limit is kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateways.http2 import Http2Transport, Keepalive
from gateways.http2 import client as client_module
from gateways.http2.client import BACKOFF_S_MAX, BACKOFF_S_MIN, Backoff
from gateways.transport import Answer, NoAnswer, NotSent, Request, Result
from tests.fixtures.certificates import Certificates
from tests.fixtures.h2_server import H2Server, Setting, serving

CONSTANTS = (
    (b"authorization", b"bearer " + b"x" * 300),
    (b"apns-topic", b"org.example.app"),
    (b"apns-push-type", b"alert"),
)
TOKEN = {"authorization": "bearer " + "x" * 300, "apns-topic": "org.example.app", "apns-push-type": "alert"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("known"), "localhost")


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[H2Server]:
    async with serving(certificates.server("h2")) as server:
        yield server


@asynccontextmanager
async def client(server: H2Server, certificates: Certificates, **more: Any) -> AsyncIterator[Http2Transport]:
    transport = Http2Transport(server.url, ca_file=certificates.ca_file, constants=CONSTANTS, **more)
    try:
        yield transport
    finally:
        await transport.aclose()


@pytest.fixture
async def transport(server: H2Server, certificates: Certificates) -> AsyncIterator[Http2Transport]:
    async with client(server, certificates) as transport:
        yield transport


def requests(*verbs: str, body: bytes = b"{}") -> list[Request]:
    return [Request(f"/3/device/{verb}".encode(), body, ((b"apns-id", verb.encode()),)) for verb in verbs]


async def post(
    transport: Http2Transport, *verbs: str, deadline_s: float = 5.0, body: bytes = b"{}"
) -> list[Result]:
    return await transport.post_many(requests(*verbs, body=body), deadline_s=deadline_s)


async def test_every_answer_belongs_to_its_request(transport: Http2Transport, server: H2Server) -> None:
    """Hundreds at once, of all kinds, each gets its own answer; the peer sees every header of every request."""
    kinds = ("ok", "gone", "refused", "echo", "pieces", "large", "interim", "trailers", "padded", "reset")
    verbs = [f"{kinds[n % len(kinds)]}-{n}" for n in range(600)]
    shared = ((b"apns-priority", b"10"),)
    results = await transport.post_many(requests(*verbs), headers=shared, deadline_s=30.0)
    assert [_expected(verb, result) for verb, result in zip(verbs, results, strict=True)] == [True] * len(
        verbs
    )
    assert not server.errors
    assert Counter(server.paths) == Counter(f"/3/device/{verb}" for verb in verbs)
    for headers, body in server.requests:
        own = headers[":path"].rpartition("/")[2]
        wanted = {**TOKEN, "apns-id": own, "apns-priority": "10", ":method": "POST", ":scheme": "https"}
        assert wanted.items() <= headers.items()
        assert headers[":authority"] == server.url.removeprefix("https://")
        assert body == b"{}"


def _expected(verb: str, result: Result) -> bool:
    kind, _, number = verb.partition("-")
    match kind:
        case "ok":
            return result == Answer(200)
        case "gone" | "interim":
            return _answered(result, 410, b'{"reason":"Unregistered"}', number)
        case "refused":
            return isinstance(result, NotSent) and result.code == "refused"
        case "reset":
            return isinstance(result, NoAnswer) and result.code == "reset"
        case "echo":
            return _answered(result, 200, number.encode())
        case "large":
            return _answered(result, 429, b"", number)
        case "trailers":
            return _answered(result, 503, number.encode())
        case _:
            return _answered(result, 400, number.encode())


def _answered(result: Result, status: int, body: bytes, number: str | None = None) -> bool:
    return (
        isinstance(result, Answer)
        and (result.status, result.body, result.complete) == (status, body, True)
        and (number is None or result.headers["x-number"] == number)
    )


async def test_the_stream_limit_is_obeyed(certificates: Certificates) -> None:
    """Never more requests open than the peer allows, and none is lost for it."""
    async with (
        serving(certificates.server("h2"), MAX_CONCURRENT_STREAMS=7) as server,
        client(server, certificates) as transport,
    ):
        results = await post(transport, *(f"ok-{n}" for n in range(200)))
        assert results == [Answer(200)] * 200
        assert server.open_max <= 7


async def test_a_lowered_stream_limit_is_obeyed(transport: Http2Transport, server: H2Server) -> None:
    """A peer may change its mind while requests are open."""
    await post(transport, "ok-0")
    peer = server.peers[0]
    peer.h2.update_settings({Setting.MAX_CONCURRENT_STREAMS: 3})
    peer.flush()
    await server.until(lambda: peer.h2.local_settings.max_concurrent_streams == 3)
    server.open_max = 0
    assert await post(transport, *(f"ok-{n}" for n in range(50))) == [Answer(200)] * 50
    assert 0 < server.open_max <= 3


async def test_send_windows_are_obeyed(certificates: Certificates) -> None:
    """A peer that takes ten bytes at a time gets ten at a time, and all of them."""
    async with (
        serving(certificates.server("h2"), INITIAL_WINDOW_SIZE=10) as server,
        client(server, certificates) as transport,
    ):
        results = await post(transport, "size-1", "size-2", "ok-3", body=b"x" * 3_000, deadline_s=20.0)
        assert [result.body for result in results if isinstance(result, Answer)] == [b"3000", b"3000", b""]
        assert not server.errors


async def test_bodies_beyond_a_frame_and_the_connection_window(
    transport: Http2Transport, server: H2Server
) -> None:
    """More than the windows hold goes out in pieces; hyper-h2 would end the connection at the first byte too many."""
    results = await post(transport, *(f"size-{n}" for n in range(5)), body=b"x" * 90_000)
    assert [result.body for result in results if isinstance(result, Answer)] == [b"90000"] * 5
    assert not server.errors


async def test_a_window_that_shrinks_while_a_body_is_under_way(certificates: Certificates) -> None:
    """A changed initial window applies to open streams too, and may leave them with less than nothing."""
    async with (
        serving(certificates.server("h2"), INITIAL_WINDOW_SIZE=20_000) as server,
        client(server, certificates) as transport,
    ):
        server.generous = False
        sending = asyncio.ensure_future(post(transport, "size-1", body=b"x" * 30_000))
        await server.until(lambda: server.received_bytes == 20_000)
        peer = server.peers[0]
        peer.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 100})
        peer.h2.increment_flow_control_window(19_900, stream_id=1)
        peer.h2.ping(b"in order")
        peer.flush()
        await server.until(lambda: peer.pongs)
        assert server.received_bytes == 20_000
        for increment in (5, 9_995):
            peer.h2.increment_flow_control_window(increment, stream_id=1)
            peer.flush()
            await server.until(lambda: server.received_bytes in {20_005, 30_000})
        assert await sending == [Answer(200, b"30000")]
        assert not server.errors


@pytest.mark.parametrize("table_bytes", [0, 60, 200, 65_536])
async def test_any_size_of_the_peers_header_table(certificates: Certificates, table_bytes: int) -> None:
    """Constant headers that do not fit the peer's table are sent in full each time."""
    async with (
        serving(certificates.server("h2"), HEADER_TABLE_SIZE=table_bytes) as server,
        client(server, certificates) as transport,
    ):
        assert await post(transport, *(f"ok-{n}" for n in range(10))) == [Answer(200)] * 10
        assert all(TOKEN.items() <= headers.items() for headers, _ in server.requests)


async def test_a_header_table_that_shrinks(transport: Http2Transport, server: H2Server) -> None:
    """A peer may want its memory back at any time."""
    await post(transport, "ok-0")
    server.peers[0].h2.update_settings({Setting.HEADER_TABLE_SIZE: 128})
    server.peers[0].flush()
    await server.until(lambda: server.peers[0].h2.local_settings.header_table_size == 128)
    assert await post(transport, *(f"ok-{n}" for n in range(10))) == [Answer(200)] * 10
    assert not server.errors
    assert all(TOKEN.items() <= headers.items() for headers, _ in server.requests)


async def test_a_new_token_is_used_from_then_on(transport: Http2Transport, server: H2Server) -> None:
    """Twenty rotations, more than the peer's table holds: each request carries the token of its time."""
    for turn in range(20):
        token = f"bearer {turn:03}" + "y" * 400
        transport.set_header(b"authorization", token.encode())
        await post(transport, f"ok-{turn}a", f"ok-{turn}b")
        assert [headers["authorization"] for headers, _ in server.requests[-2:]] == [token] * 2
        assert server.requests[-1][0]["apns-topic"] == "org.example.app"
    assert len(server.peers) == 1


async def test_what_a_goaway_leaves_out_was_certainly_not_processed(certificates: Certificates) -> None:
    """Streams above the last one are safe to repeat; those below are answered; later requests use a new connection."""
    async with (
        serving(certificates.server("h2"), MAX_CONCURRENT_STREAMS=10) as server,
        client(server, certificates) as transport,
    ):
        results = await post(transport, "hang-0", "goaway-1", *(f"hang-{n}" for n in range(2, 10)), "ok-10")
        assert [type(result) for result in results] == [NoAnswer, Answer, *[NotSent] * 8, Answer]
        assert isinstance(results[2], NotSent)
        assert results[2].code == "goaway"
        assert "Shutdown" in results[2].detail
        assert len(server.peers) == 2


async def test_a_goaway_lets_open_requests_finish(transport: Http2Transport, server: H2Server) -> None:
    """A polite GOAWAY (all streams so far) costs nothing: what is open is answered, what is new goes elsewhere."""
    sending = asyncio.ensure_future(post(transport, "held-1", "held-2"))
    await server.until(lambda: len(server.requests) == 2)
    peer = server.peers[0]
    peer.h2.close_connection(last_stream_id=2**31 - 1)
    peer.h2.state_machine.state = h2_open_state()
    peer.flush()
    await server.until(lambda: transport._connections[0].draining)
    assert await post(transport, "ok-3") == [Answer(200)]
    server.release.set()
    assert await sending == [Answer(200)] * 2
    assert len(server.peers) == 2


def h2_open_state() -> Any:
    """hyper-h2 counts a connection as closed after GOAWAY; a draining server goes on."""
    from h2.connection import ConnectionState

    return ConnectionState.SERVER_OPEN


async def test_a_cut_connection_leaves_nothing_certain(transport: Http2Transport, server: H2Server) -> None:
    """What was sent may have been processed; what comes next goes over a new connection."""
    results = await post(transport, "hang-1", "hang-2", "cut-3")
    assert [type(result) for result in results] == [NoAnswer] * 3
    assert await post(transport, "ok-4") == [Answer(200)]


async def test_a_request_without_answer_ends_by_its_deadline(
    transport: Http2Transport, server: H2Server
) -> None:
    """One hanging request costs its own deadline, is reset at the peer, and the connection serves on."""
    started = time.monotonic()
    results = await post(transport, "ok-1", "hang-2", deadline_s=0.3)
    assert time.monotonic() - started < 1.0
    assert results == [Answer(200), NoAnswer("deadline")]
    await server.until(lambda: server.resets)
    assert await post(transport, "ok-3") == [Answer(200)]
    assert len(server.peers) == 1


async def test_what_waits_for_room_until_its_deadline_was_not_sent(certificates: Certificates) -> None:
    """Behind a hanging request on a peer that takes one at a time, the rest is certainly unsent."""
    async with (
        serving(certificates.server("h2"), MAX_CONCURRENT_STREAMS=1) as server,
        client(server, certificates) as transport,
    ):
        results = await post(transport, "hang-1", "ok-2", deadline_s=0.3)
        assert [type(result) for result in results] == [NoAnswer, NotSent]
        assert await post(transport, "ok-3") == [Answer(200)]
        assert server.paths[-1] == "/3/device/ok-3"
        assert "/3/device/ok-2" not in server.paths


async def test_a_body_that_never_ends_is_cut_off(transport: Http2Transport, server: H2Server) -> None:
    """The status counts; the body is kept up to a bound and the stream reset."""
    (result,) = await post(transport, "endless-1")
    assert isinstance(result, Answer)
    assert (result.status, result.complete, len(result.body)) == (400, False, 65_536)
    await server.until(lambda: server.resets)


async def test_a_status_counts_although_the_body_is_cut(transport: Http2Transport) -> None:
    """A reset after the status leaves an answer that says it is incomplete."""
    assert await post(transport, "halfway-1") == [Answer(500, b"half", complete=False)]


async def test_a_redirect_is_an_answer_like_any_other(transport: Http2Transport, server: H2Server) -> None:
    """It is never followed."""
    (result,) = await post(transport, "redirect-1")
    assert isinstance(result, Answer)
    assert result.status == 302
    assert len(server.requests) == 1


async def test_a_foreign_authority_is_refused(server: H2Server, tmp_path: Path) -> None:
    """A certificate that our authority did not sign: nothing is sent."""
    other = Certificates(tmp_path / "other", "localhost")
    async with client(server, other) as transport:
        (result,) = await post(transport, "ok-1")
    assert isinstance(result, NotSent)
    assert (result.code, "VERIFY_FAILED" in result.detail) == ("tls", True)
    assert not server.requests


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """A trusted authority is not enough: the name must be the one asked for."""
    other = Certificates(tmp_path / "other", "elsewhere.example", address=None)
    async with serving(other.server("h2")) as server, client(server, other) as transport:
        (result,) = await post(transport, "ok-1")
        assert isinstance(result, NotSent)
        assert result.code == "tls"


@pytest.mark.parametrize("protocols", [("http/1.1",), ()])
async def test_a_peer_without_http2_is_refused(
    certificates: Certificates, protocols: tuple[str, ...]
) -> None:
    """ALPN must say h2; otherwise nothing is sent."""
    async with serving(certificates.server(*protocols)) as server, client(server, certificates) as transport:
        (result,) = await post(transport, "ok-1")
        assert isinstance(result, NotSent)
        assert result.code in {"http2", "tls"}
        assert not server.requests


async def test_nobody_there(certificates: Certificates, unused_tcp_port: int) -> None:
    """A refused connection is known at once, and the next attempt waits a little."""
    transport = Http2Transport(f"https://localhost:{unused_tcp_port}", ca_file=certificates.ca_file)
    started = time.monotonic()
    (result,) = await post(transport, "ok-1", deadline_s=5.0)
    assert isinstance(result, NotSent)
    assert result.code == "connect"
    assert time.monotonic() - started < 2.0
    await post(transport, "ok-2", deadline_s=5.0)
    assert time.monotonic() - started >= BACKOFF_S_MIN
    await transport.aclose()


async def test_a_server_that_accepts_and_says_nothing(certificates: Certificates) -> None:
    """The deadline holds during connecting, too."""
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    transport = Http2Transport(f"https://localhost:{port}", ca_file=certificates.ca_file)
    started = time.monotonic()
    (result,) = await post(transport, "ok-1", deadline_s=0.3)
    assert time.monotonic() - started < 1.0
    assert isinstance(result, NotSent)
    await transport.aclose()
    listener.close()


def test_backoff_grows_and_is_bounded() -> None:
    """Attempts move apart, up to a bound, never in step, and start anew once one worked."""
    backoff, waits = Backoff(), []
    for _ in range(20):
        backoff.failed(100.0)
        waits.append(backoff.wait_s(100.0))
    assert waits[0] >= BACKOFF_S_MIN
    assert BACKOFF_S_MAX / 2 <= waits[-1] <= BACKOFF_S_MAX
    assert len(set(waits)) == len(waits)
    backoff.worked()
    assert backoff.wait_s(100.0) == 0.0


async def test_a_dead_connection_is_noticed_before_the_deadline(
    server: H2Server, certificates: Certificates
) -> None:
    """A peer that neither answers nor replies to a ping is given up; the next slice gets a new connection."""
    keepalive = Keepalive(tick_s=0.05, ping_after_s=0.1, ping_timeout_s=0.2)
    async with client(server, certificates, keepalive=keepalive) as transport:
        await post(transport, "ok-1")
        server.deaf = True
        started = time.monotonic()
        (result,) = await post(transport, "ok-2", deadline_s=10.0)
        assert result == NoAnswer("connection", "no answer to a ping")
        assert time.monotonic() - started < 3.0
        server.deaf = False
        assert await post(transport, "ok-3") == [Answer(200)]


async def test_a_connection_that_died_in_silence_costs_no_certainty(
    server: H2Server, certificates: Certificates
) -> None:
    """After a long silence the peer is asked first, so the requests are still unsent when it turns out dead."""
    keepalive = Keepalive(tick_s=0.05, probe_after_s=0.0, probe_timeout_s=0.2)
    async with client(server, certificates, keepalive=keepalive) as transport:
        await post(transport, "ok-1")
        first = server.peers[0]
        first.data_received = lambda data: None  # type: ignore[method-assign]
        assert await post(transport, "ok-2") == [Answer(200)]
        assert len(server.peers) == 2


async def test_a_slow_but_living_peer_is_not_given_up(server: H2Server, certificates: Certificates) -> None:
    """Pings are answered, so the connection stays and the answer arrives."""
    keepalive = Keepalive(tick_s=0.02, ping_after_s=0.05, ping_timeout_s=0.1)
    async with client(server, certificates, keepalive=keepalive) as transport:
        sending = asyncio.ensure_future(post(transport, "held-1"))
        done, _ = await asyncio.wait((sending,), timeout=0.5)
        assert not done
        server.release.set()
        assert await sending == [Answer(200)]


async def test_closing_waits_for_answers_that_are_due(server: H2Server, certificates: Certificates) -> None:
    """Draining: what was sent is answered, what comes after is refused, and the peer is told goodbye."""
    async with client(server, certificates) as transport:
        sending = asyncio.ensure_future(post(transport, "held-1"))
        await server.until(lambda: server.requests)
        closing = asyncio.ensure_future(transport.aclose())
        await asyncio.sleep(0)
        assert await post(transport, "ok-2") == [NotSent("closing")]
        server.release.set()
        await closing
        assert await sending == [Answer(200)]
        await server.until(lambda: server.peers[0].lost)


async def test_a_caller_that_gives_up_leaves_nothing_behind(
    transport: Http2Transport, server: H2Server
) -> None:
    """Cancelled: the peer is told, and the connection serves others."""
    sending = asyncio.ensure_future(post(transport, "hang-1", "hang-2"))
    await server.until(lambda: len(server.requests) == 2)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await server.until(lambda: len(server.resets) == 2)
    assert await post(transport, "ok-3") == [Answer(200)]


async def test_further_connections_open_when_all_are_full(certificates: Certificates) -> None:
    """Up to the maximum, and no further."""
    async with (
        serving(certificates.server("h2"), MAX_CONCURRENT_STREAMS=2) as server,
        client(server, certificates, connections_max=3) as transport,
    ):
        sending = asyncio.ensure_future(post(transport, *(f"held-{n}" for n in range(20))))
        await server.until(lambda: len(server.requests) == 6)
        assert len(server.peers) == 3
        server.release.set()
        assert await sending == [Answer(200)] * 20


async def test_what_the_queue_cannot_hold_is_refused(
    transport: Http2Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded queue: more is certainly not sent, and said so at once."""
    monkeypatch.setattr(client_module, "WAITING_MAX", 10)
    assert await post(transport, *(f"ok-{n}" for n in range(11))) == [NotSent("overloaded")] * 11
    assert await post(transport, *(f"ok-{n}" for n in range(10))) == [Answer(200)] * 10


def test_the_same_on_uvloop(certificates: Certificates) -> None:
    """Production runs on uvloop, whose transports differ in small ways."""

    async def scenario() -> None:
        async with serving(certificates.server("h2")) as server, client(server, certificates) as transport:
            results = await post(
                transport, "ok-1", "gone-2", "size-3", "hang-4", body=b"x" * 90_000, deadline_s=1.0
            )
            assert results[0] == Answer(200)
            assert _answered(results[1], 410, b'{"reason":"Unregistered"}', "2")
            assert results[2:] == [Answer(200, b"90000"), NoAnswer("deadline")]
            assert [type(result) for result in await post(transport, "hang-5", "cut-6")] == [NoAnswer] * 2
            assert await post(transport, "ok-7") == [Answer(200)]
        async with serving(certificates.server()) as server, client(server, certificates) as transport:
            assert [type(result) for result in await post(transport, "ok-8")] == [NotSent]
        async with client(server, certificates) as transport:
            assert [type(result) for result in await post(transport, "ok-9")] == [NotSent]

    uvloop.run(scenario())


async def test_an_empty_slice(transport: Http2Transport, server: H2Server) -> None:
    """Nothing to send opens no connection."""
    assert await post(transport) == []
    assert not server.peers
