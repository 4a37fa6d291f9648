"""The hub over a real log: what a broken connection loses is read again, and nothing is shown twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from api.about.metrics import Metrics
from api.sockets.follower import Follower
from api.sockets.hub import Hub
from api.sockets.wire import Encoding
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from processes.port import Frame
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.memory.ports.feeding import append_frames
from tests.memory.recording import Recording
from tests.memory.site import eventually

NEWS = "feed.thread.aa"
WAIT_S_MAX = 20.0


class Link:
    """A TCP connection to nats-server that a test can cut."""

    def __init__(self, port: int) -> None:
        self._target, self._writers = port, set[asyncio.StreamWriter]()
        self.port, self.up = 0, True

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        to_server, from_us = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, from_us}
        await asyncio.gather(_pipe(reader, from_us), _pipe(to_server, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def show(log: JetStreamLog, text: str) -> None:
    frame = msgspec.json.encode({"msg": text, "mid": text})
    await append_frames(log.feed, Frame(subject=NEWS, body=frame, message=text))


async def test_a_broken_connection_loses_no_frame(nats_server: NatsServer, log: JetStreamLog) -> None:
    """Frames published while the hub was cut off come once it is back, in order, before the new ones."""
    link = Link(int(nats_server.url.rpartition(":")[2]))
    async with (
        link.opened(),
        open_log(log_config(nats_server, url=f"nats://127.0.0.1:{link.port}"), master_key=MASTER_KEY) as ours,
    ):
        hub = Hub(ours.feed_reader, Metrics())
        running = asyncio.create_task(hub.run())
        seen = Recording()
        try:
            await hub.follow(Follower(seen, Encoding.STREAM), [NEWS])
            await show(log, "1")
            await eventually(lambda: seen.texts == ["1"])
            link.up = False
            link.cut()
            for number in range(2, 40):
                await show(log, str(number))
            link.up = True
            async with asyncio.timeout(WAIT_S_MAX):
                while len(seen.texts) < 39:
                    await asyncio.sleep(0.02)
            await show(log, "40")
            await eventually(lambda: len(seen.texts) == 40)
            assert seen.texts == [str(number) for number in range(1, 41)]
            assert seen.closed is None
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
