"""The socket to the log: a server that does not read, that says nonsense, that leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from infra.nats.wire.connection import Connection, Endpoint, connected
from infra.nats.wire.errors import Disconnected, NoAnswer
from infra.nats.wire.frames import Frame, publish_frame
from infra.nats.wire.link import OUTBOUND_BYTES_MAX
from tests.integration.log.scenes import until

INFO = b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576}\r\n'
FRAME = publish_frame("a", b"x" * (1 << 20))


class Server:
    """Lets everybody in, notes what they say, and answers PING; `deaf`: reads nothing after the login."""

    def __init__(self) -> None:
        self.deaf = False
        self.hears = asyncio.Event()
        self.logins, self.heard_bytes = 0, 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(INFO)
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
                elif line.startswith(b"SUB "):
                    break
            self.logins += 1
            while not self.deaf or await self.hears.wait():
                chunk = await reader.read(1 << 20)
                if not chunk:
                    break
                self.heard_bytes += len(chunk)
                if chunk.endswith(b"PING\r\n"):
                    writer.write(b"PONG\r\n")

    def leave(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@contextlib.asynccontextmanager
async def connected_to(server: Server) -> AsyncIterator[Connection]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 21)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with connected(Endpoint(urls=f"nats://127.0.0.1:{port}")) as connection:
            yield connection
            server.hears.set()
    finally:
        server.leave()
        listening.close()


async def fill(connection: Connection) -> int:
    """Send until the socket takes no more; how many frames."""
    for count in range(64):
        if not connection.is_ready:
            return count
        await connection.send(FRAME)
        await asyncio.sleep(0)
    raise AssertionError("nothing ever held the sender back")


async def test_senders_wait_for_a_server_that_does_not_read() -> None:
    """Memory stays bounded; all of it arrives once the server reads again."""
    server = Server()
    server.deaf = True
    async with connected_to(server) as connection:
        count = await fill(connection)
        assert count * len(FRAME) > OUTBOUND_BYTES_MAX
        waiting = asyncio.create_task(connection.send(FRAME))
        await asyncio.sleep(0)
        assert not waiting.done()
        server.hears.set()
        await waiting

        async def all_arrived() -> bool:
            return server.heard_bytes >= (count + 1) * len(FRAME)

        await until(all_arrived)


async def test_who_waits_for_room_is_told_that_nothing_was_sent() -> None:
    """After a time, or when the connection breaks meanwhile; and the next connection does not get it either."""
    server = Server()
    server.deaf = True
    async with connected_to(server) as connection:
        await fill(connection)
        with pytest.raises(Disconnected):
            await connection.ask("a", timeout_s=0.05)
        waiting = asyncio.create_task(connection.send(FRAME))
        await asyncio.sleep(0)
        server.deaf = False
        server.heard_bytes = 0
        server.leave()
        with pytest.raises(Disconnected):
            await waiting
        await connection.wait_up()

        async def logged_in_again() -> bool:
            return server.logins >= 2

        await until(logged_in_again)
        assert server.heard_bytes < len(FRAME)


async def test_nonsense_from_the_server_makes_the_connection_anew() -> None:
    """What waited for an answer is told; what is routed goes on on the new connection."""
    server = Server()
    async with connected_to(server) as connection:
        frames: list[Frame] = []
        await connection.route_surely("b", frames.append)
        asking = asyncio.create_task(connection.ask("a", timeout_s=20))
        await asyncio.sleep(0)
        server.writers[-1].write(b"MSG b 2 1\r\nx\r\nMSG b 2 nonsense\r\nMSG b 2 1\r\ny\r\n")
        with pytest.raises(NoAnswer):
            await asking
        assert [frame.data for frame in frames] == [b"x"]

        async def again() -> bool:
            return connection.generation == 2 and connection.is_ready

        await until(again)
        server.writers[-1].write(b"MSG b 2 1\r\nz\r\n")

        async def arrived() -> bool:
            return len(frames) == 2

        await until(arrived)


async def test_a_link_that_is_lost_refuses_at_once() -> None:
    """Before nats-py has noticed it: nobody's request goes into a socket that is gone."""
    server = Server()
    async with connected_to(server) as connection:
        connection._links.current.abort()
        with pytest.raises(Disconnected):
            await connection.send(FRAME)
        with pytest.raises(Disconnected):
            await connection.begin("a")
        await connection.wait_up()
        assert connection.generation == 2


async def test_closing_does_not_wait_for_a_server_that_never_reads() -> None:
    """It is cut off after a while, and what was not written is lost, as told."""
    server = Server()
    server.deaf = True
    async with asyncio.timeout(10), connected_to(server) as connection:
        await fill(connection)
        await connection.close()
        assert connection.is_closed
