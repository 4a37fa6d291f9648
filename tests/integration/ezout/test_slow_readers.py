"""Readers of a shop's stream that do not keep up: cut off, without harm to others and without a trace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from api.ezout import hub
from api.ezout.frames import Frame
from api.sockets import protocol
from domain.errors import Unavailable
from infra.nats.server import NatsServer
from tests.integration.ezout.market import LIVELY, Market, market_on, some_shop
from tests.memory.site import PATIENCE_S, eventually


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    """One market for all tests of this module; each has a shop of its own."""
    async with market_on(nats_server, pace=LIVELY) as made:
        yield made


async def test_a_slow_reader_is_cut_off_and_others_go_on(fair: Market) -> None:
    """A page that takes nothing is cut off; the pages beside it see everything; it comes back and misses nothing."""
    shop, count = some_shop(), 300
    big = b'{"action":"ADD","product_id":%d,"x":"' + b"x" * 30_000 + b'"}'
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", fair.port))
        slow.sendall(f"GET /shops/{shop}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await eventually(lambda: fair.hub.readers == 1)
        async with fair.events(shop) as page:
            await page.next()
            for number in range(count):
                await fair.log.js.connection.tell(f"updates.store.{shop}", big % number)
                assert await page.products(1) == [number]
            await eventually(lambda: fair.hub.readers == 1)


@pytest.mark.parametrize("kind", ["stream", "socket"])
async def test_a_reader_that_takes_nothing_does_not_keep_its_connection(
    fair: Market, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once cut off, neither the connection nor what waits for it is kept for as long as the peer likes."""
    monkeypatch.setattr(protocol, "CLOSE_S_MAX", 0.5)
    shop, body = some_shop(), b'{"action":"ADD","x":"' + b"x" * 60_000 + b'"}'
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    await eventually(lambda: fair.hub.readers == 0)  # of the tests before
    with socket.socket() as hung:
        hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hung.connect(("127.0.0.1", fair.port))
        head = f"GET /shops/{shop}/{kind} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        hung.sendall(f"{head}{upgrade if kind == 'socket' else ''}\r\n".encode())
        await eventually(lambda: fair.hub.readers == 1)
        assert is_open(fair.port, hung.getsockname()[1])
        for _ in range(200):
            await fair.log.js.connection.tell(f"updates.store.{shop}", body)
        await eventually(lambda: fair.hub.readers == 0)
        await eventually(lambda: not is_open(fair.port, hung.getsockname()[1]))


def is_open(port: int, peer: int) -> bool:
    """Whether a process holds the connection at `port` from `peer`; one that was closed has no inode."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if (local[-4:], remote[-4:]) == (f"{port:04X}", f"{peer:04X}"):
            return inode != "0"
    return False


@pytest.mark.parametrize("kind", ["stream", "updates/export"])
async def test_a_reader_that_is_still_in_the_archive_counts(
    fair: Market, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for so many readers, wherever they are: a page of the archive takes more than what comes live."""
    monkeypatch.setattr(hub, "READERS_MAX", 1)
    await eventually(lambda: fair.hub.readers == 0)  # of the tests before
    shop, writing, taken = some_shop(), asyncio.Event(), asyncio.Event()
    await fair.sent(1, shop=shop)

    async def write(frames: Sequence[Frame]) -> None:
        writing.set()
        await taken.wait()

    async def tick() -> None: ...

    def following() -> asyncio.Task[None]:
        return asyncio.create_task(hub.Following(fair.hub, shop, 0, write, tick).run(tick_s=1.0))

    async with asyncio.timeout(PATIENCE_S):
        first = following()
        await writing.wait()
        with pytest.raises(Unavailable):
            await following()
        assert (await fair.client.get(f"/shops/{shop}/{kind}")).status_code == 503
        first.cancel()
        await asyncio.wait([first])
        async with fair.client.stream("GET", f"/shops/{shop}/{kind}") as answer:
            assert answer.status_code == 200


async def test_an_export_counts_among_the_readers(fair: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it goes on."""
    monkeypatch.setattr(hub, "READERS_MAX", 1)
    await eventually(lambda: fair.hub.readers == 0)  # of the tests before
    shop, body = some_shop(), b'{"x":"' + b"x" * 60_000 + b'"}'
    for _ in range(hub.PAGE * 2):
        await fair.log.js.connection.tell(f"updates.store.{shop}", body)
    await fair.sent(1, shop=shop)
    async with (
        asyncio.timeout(PATIENCE_S),
        fair.client.stream("GET", f"/shops/{shop}/updates/export") as answer,
    ):
        assert answer.status_code == 200
        assert (await fair.client.get(f"/shops/{shop}/stream")).status_code == 503
    await eventually(lambda: fair.hub.readers == 0)


async def test_a_reader_that_falls_behind_is_told_where_to_come_back(fair: Market) -> None:
    """A reader's queue is bounded: over it the reader is cut off, and holds no memory."""
    reader = hub.Reader()
    ids = fair.hub.stream_ids(some_shop())
    for number in range(hub.FRAMES_MAX + 1):
        reader.push(Frame(number + 1, number, b"{}", ids.give))
    with pytest.raises(hub.TooSlow):
        await reader.take(0.1)
