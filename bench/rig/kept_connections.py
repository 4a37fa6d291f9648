"""Requests over HTTP/1.1 connections that are kept open, as a program that publishes now and then has them.

One request at a time on each; one more connection is opened when all are busy. Loopback only, bounded in count.
"""

from __future__ import annotations

import asyncio
from typing import cast

from bench.rig.http_load import CONNECTIONS_MAX, is_whole

ANSWER_S_MAX = 60.0


class KeptConnections:
    """All to one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []
        self._opened = list[_Connection]()

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        while self._idle and not self._idle[-1].is_open:
            self._idle.pop()  # a server closes what has been idle for long
        connection = self._idle.pop() if self._idle else await self._open()
        async with asyncio.timeout(ANSWER_S_MAX):
            status = await connection.ask(request)
        self._idle.append(connection)
        return status

    def close(self) -> None:
        for connection in self._opened:
            connection.close()

    async def _open(self) -> _Connection:
        assert len(self._opened) < CONNECTIONS_MAX, "bounded"
        connection = _Connection()
        self._opened.append(connection)
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self._port)
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is not None and not self._answer.done() and is_whole(self._buffer):
            answer, self._buffer = self._buffer, b""
            self._answer.set_result(int(answer[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before it answered"))

    async def ask(self, request: bytes) -> int:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
