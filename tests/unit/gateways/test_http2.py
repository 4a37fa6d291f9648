"""The HTTP/2 client against hyper-h2: every answer is its own request's, every limit of the peer's is kept."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import uvloop

from gateways.http2 import Http2Transport
from gateways.transport import Answer, NoAnswer, NotSent, Result
from tests.fixtures.certificates import Certificates
from tests.fixtures.h2_server import H2Server, Setting, serving
from tests.unit.gateways.conftest import TOKEN, client, post, requests


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


async def test_what_the_queue_cannot_hold_is_refused(server: H2Server, certificates: Certificates) -> None:
    """A bounded queue: more is certainly not sent, and said so at once."""
    async with client(server, certificates, waiting_max=10) as transport:
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
