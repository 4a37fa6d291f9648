"""The HTTP/2 client and peers that fail: nothing hangs, and what is said of a request is no more than is known."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gateways.http2 import Http2Transport, Keepalive
from gateways.http2.client import BACKOFF_S_MAX, BACKOFF_S_MIN, RENEWAL_S, Backoff
from gateways.transport import Answer, NoAnswer, NotSent
from tests.fixtures.certificates import Certificates
from tests.fixtures.h2_server import H2Server, serving
from tests.unit.gateways.conftest import client, post


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


async def test_a_server_in_trouble_is_left_for_another_connection(
    server: H2Server, certificates: Certificates
) -> None:
    """What is open on its connection is answered there, what comes next goes over a new one, and the old one ends."""
    async with client(server, certificates, renew_on=(500, 503)) as transport:
        held = asyncio.ensure_future(post(transport, "held-1"))
        await server.until(lambda: server.requests)
        [busy] = await post(transport, "busy-2")
        assert isinstance(busy, Answer)
        assert busy.status == 503
        assert await post(transport, "ok-3") == [Answer(200)]
        assert len(server.peers) == 2
        assert not server.peers[0].lost
        server.release.set()
        assert await held == [Answer(200)]
        await server.until(lambda: server.peers[0].lost)
        assert not server.peers[1].lost


async def test_what_hangs_on_a_connection_left_behind_ends_by_its_deadline(
    server: H2Server, certificates: Certificates
) -> None:
    """And the connection with it."""
    async with client(server, certificates, renew_on=(503,)) as transport:
        results = await post(transport, "hang-1", "busy-2", deadline_s=0.3)
        assert [type(result) for result in results] == [NoAnswer, Answer]
        await server.until(lambda: server.peers[0].lost)
        assert await post(transport, "ok-3") == [Answer(200)]


async def test_a_storm_of_refusals_is_no_storm_of_connections(
    server: H2Server, certificates: Certificates
) -> None:
    """A peer that refuses everything is left once a second, not once an answer."""
    async with client(server, certificates, renew_on=(503,), connections_max=4) as transport:
        started = time.monotonic()
        for _ in range(100):
            results = await post(transport, *(f"busy-{n}" for n in range(20)))
            assert {type(result) for result in results} == {Answer}
        assert len(server.peers) <= 2 + (time.monotonic() - started) / RENEWAL_S
        assert len(server.requests) == 2_000


async def test_other_refusals_leave_the_connection_alone(
    server: H2Server, certificates: Certificates
) -> None:
    """A device that is gone says nothing of the server; neither does a 503 where nobody asks for a renewal."""
    async with client(server, certificates, renew_on=(503,)) as transport:
        await post(transport, "gone-1", "gone-2")
        await post(transport, "ok-3")
        assert len(server.peers) == 1
    async with client(server, certificates) as transport:
        await post(transport, "busy-1")
        await post(transport, "ok-2")
        assert len(server.peers) == 2


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


async def test_a_server_that_goes_away_at_once(certificates: Certificates) -> None:
    """Its connection is none: nothing was sent, and the next one serves."""
    async with serving(certificates.server("h2")) as server, client(server, certificates) as transport:
        server.leaving = True
        (result,) = await post(transport, "ok-1", deadline_s=2.0)
        assert isinstance(result, NotSent)
        server.leaving = False
        assert await post(transport, "ok-2") == [Answer(200)]
        assert len(transport._connections) == 1
