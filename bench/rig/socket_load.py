"""Web-socket clients that cost little: each keeps what it reads with the time it came, and nothing is looked at before
the clock has stopped. Then every frame is read strictly.

A mark is `@@<nanoseconds>.<number>@@` in a message's text, so any server that passes the text on can be measured.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, cast

MARK = re.compile(rb"@@(\d+)\.(\d+)@@")
READY = b'"subscribed"'
CONNECT_AT_ONCE = 50
CONNECT_S_MAX = 60.0

TEXT, PING = 0x81, 0x89
"""First bytes of the frames that a server may send: whole ones."""

Read = tuple[int, bytes]
"""(nanoseconds since the epoch, what came then)."""


class Seen(NamedTuple):
    """What all sockets got: times from stamp to arrival, and what was wrong."""

    latencies_ms: list[float]
    missing: int
    repeated: int
    disordered: int

    def percentile_ms(self, share: float) -> float:
        return self.latencies_ms[int(share * (len(self.latencies_ms) - 1))] if self.latencies_ms else 0.0


class Listener(asyncio.Protocol):
    """One socket: says `hello` once it is connected, then listens. reads: all that came since it was subscribed."""

    newest = b""
    """What any of them read last. Most sockets read the same one after another: it is kept once."""

    def __init__(self, path: str, hello: bytes) -> None:
        self._path, self._hello = path, hello
        self._buffer = b""
        self._upgraded = False
        self._listening = False
        self.ready = asyncio.get_running_loop().create_future()
        self.reads: list[Read] = []
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
        # Hot path: what is done here for each read is taken from the server, whose processors we share.
        at_ns = time.time_ns()
        if self._listening:
            if data == Listener.newest:
                data = Listener.newest
            else:
                Listener.newest = data
            self.reads.append((at_ns, data))
        else:
            self._begin(at_ns, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed before it was subscribed"))

    def saw(self, number: int) -> bool:
        """Whether this message is among what came last."""
        return b".%d@@" % number in b"".join(data for _, data in self.reads[-2:])

    def _begin(self, at_ns: int, data: bytes) -> None:
        """Up to the answer to `hello`, which may be among others."""
        self._buffer += data
        if not self._upgraded:
            self._upgrade()
        if self._upgraded and READY in self._buffer:
            self.reads.append((at_ns, self._buffer))
            self._listening = True
            self.ready.set_result(None)

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
    """Read all frames of all sockets. A frame came when the last of its bytes did."""
    latencies: list[float] = []
    missing = repeated = disordered = 0
    for socket in sockets:
        numbers = list[int]()
        for at_ns, payload in frames(socket.reads):
            for stamp_ns, number in MARK.findall(payload):
                numbers.append(int(number))
                latencies.append((at_ns - int(stamp_ns)) / 1e6)
        missing += sent - len(set(numbers))
        repeated += len(numbers) - len(set(numbers))
        disordered += sum(1 for a, b in pairwise(numbers) if b < a)
    return Seen(sorted(latencies), missing, repeated, disordered)


def frames(reads: Iterable[Read]) -> Iterator[Read]:
    """Payloads of the text frames, each with the time of the read that ended it. Whatever else a server may not send
    fails, as does a frame that has no end.
    """
    rest = b""
    for at_ns, data in reads:
        rest += data
        start = 0
        while (span := frame_at(rest, start)) is not None:
            first, end = span
            if rest[start] == TEXT:
                yield at_ns, rest[first:end]
            start = end
        rest = rest[start:]
    assert not rest, "the last frame has no end"


def frame_at(data: bytes, start: int) -> tuple[int, int] | None:
    """From where to where the payload of a server's frame goes; None: it is not all there."""
    if len(data) < start + 2:
        return None
    assert data[start] in (TEXT, PING), f"no frame begins with {data[start]:#x}"
    size, first = data[start + 1], start + 2
    assert size < 127, "masked, or longer than any message of ours"
    if size == 126:
        size, first = int.from_bytes(data[first : first + 2]), first + 2
    end = first + size
    return (first, end) if end <= len(data) else None
