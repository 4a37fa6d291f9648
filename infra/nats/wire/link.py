"""The socket under a connection: nats-py's transport, on a protocol of asyncio's instead of its streams.

nats-py logs in, reconnects and pings through it. Once logged in, what arrives is read in the turn of the event
loop that brought it, and all that is written in one turn leaves in one write. What was not written when a link
breaks is never written: another link begins empty.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast
from urllib.parse import ParseResult

from nats.aio.transport import Transport
from nats.errors import ProtocolError

from infra.nats.wire.errors import Disconnected
from infra.nats.wire.parser import FrameReader, Route

OUTBOUND_BYTES_MAX = 8 << 20
"""What waits for the socket; beyond this, senders wait."""

CLOSE_S_MAX = 2.0
"""How long a closing link may take to write the rest to a server that is slow to read."""


class Link(asyncio.Protocol):
    """One connection to one server, until it is lost. is_open: logged in, and not lost yet."""

    def __init__(self, routes: dict[bytes, Route]) -> None:
        self._reader = FrameReader(routes, self._keep)
        self._transport: asyncio.Transport | None = None
        self.is_open = self.is_full = self.is_lost = False
        self._failure: ProtocolError | None = None
        self._kept = bytearray()  # for nats-py
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=OUTBOUND_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        if not self.is_open:
            self._keep(data)
            return
        try:
            self._reader.feed(data)
        except ProtocolError as failure:
            self._failure = failure
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._end()
        self._lost.set()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._room.set()

    def open(self) -> None:
        """Logged in: from here on messages go to their routes."""
        if self.is_lost:
            return
        self.is_open = True
        early = bytes(self._kept)
        self._kept.clear()
        self.data_received(early)

    async def upgrade(self, context: ssl.SSLContext, hostname: str | None) -> None:
        """Speak TLS from here on."""
        assert self._transport is not None
        upgraded = await asyncio.get_running_loop().start_tls(
            self._transport, self, context, server_hostname=hostname
        )
        if upgraded is None:
            raise ConnectionError("the server closed the connection instead of speaking TLS")
        self.connection_made(upgraded)

    def write(self, data: bytes) -> None:
        """Have this leave at the end of the loop's turn, in the order of calls; dropped if the link is lost by then."""
        # Hot path: one write for all appends of a turn.
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > OUTBOUND_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    async def room(self, timeout_s: float) -> None:
        """Return once the socket takes more. Raises Disconnected when it is lost, or takes nothing for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.is_full and not self.is_lost:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise Disconnected("the log does not read what is sent to it") from None
        if self.is_lost:
            raise Disconnected("the connection to the log broke")

    async def line(self) -> bytes:
        """The next line for nats-py; what there is of it if the link ends before."""
        while (end := self._kept.find(b"\n")) < 0 and not self.is_lost:
            await self._change()
        return self._take(end + 1 if end >= 0 else len(self._kept))

    async def kept(self) -> bytes:
        """All there is for nats-py, at least something; nothing at the end. Raises ProtocolError."""
        while not self._kept and not self.is_lost and self._failure is None:
            await self._change()
        if self._failure is not None:
            raise self._failure
        return self._take(len(self._kept))

    @property
    def at_end(self) -> bool:
        return self.is_lost and not self._kept

    def close(self) -> None:
        """Write what is gathered, then close."""
        self.is_open = False
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not written never will be."""
        self.is_open = False
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        """Return once the socket is closed; one whose peer does not read is cut off."""
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._lost.wait()
        except TimeoutError:
            self.abort()

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self._arrived.set()

    def _end(self) -> None:
        self.is_open = False
        self._arrived.set()
        self._room.set()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._kept[:size])
        del self._kept[:size]
        return taken

    async def _change(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()


class LinkTransport(Transport):
    """nats-py's view of the links, one after the other. current: the last one, open or not."""

    def __init__(self, routes: dict[bytes, Route]) -> None:
        self._routes = routes
        self.current = Link(routes)

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        host, port = uri.hostname, uri.port
        assert host is not None
        assert port is not None  # nats-py fills it in
        self.current.abort()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(connect_timeout):
            _, self.current = await loop.create_connection(lambda: Link(self._routes), host, port)

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        hostname = uri if isinstance(uri, str) else uri.hostname
        async with asyncio.timeout(connect_timeout):
            await self.current.upgrade(ssl_context, hostname)

    def write(self, payload: bytes) -> None:
        self.current.write(payload)

    def writelines(self, payload: list[bytes]) -> None:
        self.current.write(b"".join(payload))

    async def drain(self) -> None:
        self.current.flush()
        if self.current.is_full:
            await self.current.room(CLOSE_S_MAX)

    async def readline(self) -> bytes:
        return await self.current.line()

    async def read(self, buffer_size: int) -> bytes:
        return await self.current.kept()

    def at_eof(self) -> bool:
        return self.current.at_end

    def close(self) -> None:
        self.current.close()

    def abort(self) -> None:
        self.current.abort()

    async def wait_closed(self) -> None:
        await self.current.closed()

    def __bool__(self) -> bool:
        """Always: nats-py would make a transport of its own instead."""
        return True
