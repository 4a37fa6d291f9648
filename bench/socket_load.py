"""Web-socket clients that cost little: a protocol each, which looks for our marks in what comes and notes the time.

A mark is `@@<nanoseconds>.<number>@@` in a message's text, so any server that passes the text on can be measured.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import struct
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, cast

MARK = re.compile(rb"@@(\d+)\.(\d+)@@")
READY = b'"subscribed"'
CONNECT_AT_ONCE = 50
CONNECT_S_MAX = 60.0


class Seen(NamedTuple):
    """What all sockets got: times from stamp to arrival, and what was wrong."""

    latencies_ms: list[float]
    missing: int
    repeated: int
    disordered: int

    def percentile_ms(self, share: float) -> float:
        return self.latencies_ms[int(share * (len(self.latencies_ms) - 1))] if self.latencies_ms else 0.0


class Listener(asyncio.Protocol):
    """One socket: says `hello` once it is connected, then listens."""

    def __init__(self, path: str, hello: bytes) -> None:
        self._path, self._hello = path, hello
        self._buffer = b""
        self._upgraded = False
        self.ready = asyncio.get_running_loop().create_future()
        self.got: list[tuple[int, int]] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self.transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now_ns = time.time_ns()
        self._buffer += data
        if not self._upgraded:
            self._upgrade()
            return
        if not self.ready.done() and READY in self._buffer:
            self.ready.set_result(None)
        end = 0
        for found in MARK.finditer(self._buffer):
            self.got.append((int(found[2]), now_ns - int(found[1])))
            end = found.end()
        self._buffer = self._buffer[max(end, len(self._buffer) - 64) :]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed before it was subscribed"))

    def _upgrade(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        assert b" 101 " in head.split(b"\r\n")[0], head
        self._upgraded, self._buffer = True, rest
        assert self.transport is not None
        self.transport.write(masked(self._hello))


def masked(payload: bytes) -> bytes:
    """A text frame from a client; a mask of zeros is a mask."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else struct.pack(">BH", 0x80 | 126, size)
    return b"\x81" + length + b"\0\0\0\0" + payload


async def listeners(
    port: int, count: int, path: Callable[[int], str], hello: Callable[[int], bytes]
) -> list[Listener]:
    """Sockets that are connected and subscribed."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def one(number: int) -> Listener:
        async with places:
            _, made = await loop.create_connection(
                lambda: Listener(path(number), hello(number)), "127.0.0.1", port
            )
            await made.ready
            return made

    async with asyncio.timeout(CONNECT_S_MAX):
        return list(await asyncio.gather(*(one(number) for number in range(count))))


def mark(number: int) -> bytes:
    return b"@@%d.%d@@" % (time.time_ns(), number)


def tally(sockets: list[Listener], sent: int) -> Seen:
    latencies: list[float] = []
    missing = repeated = disordered = 0
    for socket in sockets:
        numbers = [number for number, _ in socket.got]
        latencies += [elapsed_ns / 1e6 for _, elapsed_ns in socket.got]
        missing += sent - len(set(numbers))
        repeated += len(numbers) - len(set(numbers))
        disordered += sum(1 for a, b in pairwise(numbers) if b < a)
    return Seen(sorted(latencies), missing, repeated, disordered)
