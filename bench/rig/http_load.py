"""A small HTTP/1.1 load client: keep-alive connections, one request in flight on each, latencies counted.

It parses only what it must (status line and content-length), so that it costs far less than what it measures, whose
processors it shares: for the same reason run it on uvloop. Loopback only, bounded in count and time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

CONNECTIONS_MAX = 1_000
LENGTH = b"content-length: "
"""As both servers write it."""


@dataclass(slots=True)
class Report:
    """statuses: answers by status code. latencies_s: one per answer, unsorted."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.elapsed_s if self.elapsed_s else 0.0

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3 if ordered else 0.0


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete."""

    def __init__(self, load: _Load) -> None:
        self._load, self._buffer, self._sent_at = load, b"", 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._buffer + data if self._buffer else data
        if not is_whole(answer):
            self._buffer = answer
            return
        self._buffer = b""
        self._load.answered(int(answer[9:12]), self._sent_at)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(exc)

    def send(self) -> None:
        request = self._load.next_request()
        if request is None:
            if self.transport is not None:
                self.transport.close()
            return
        assert self.transport is not None
        self._sent_at = time.perf_counter()
        self.transport.write(request)


class _Load:
    def __init__(self, request: Callable[[int], bytes], count: int) -> None:
        self._request, self._left, self._until = request, count, 0.0
        self._number, self._began = 0, 0.0
        self.report, self.open = Report(), 0
        self.done = asyncio.get_running_loop().create_future()

    def begin(self, connections: Iterable[_Connection], seconds: float) -> None:
        self._began = time.perf_counter()
        self._until = self._began + seconds
        for each in connections:
            each.send()

    def next_request(self) -> bytes | None:
        if not self._left or time.perf_counter() > self._until:
            return None
        self._left -= 1
        self._number += 1
        return self._request(self._number)

    def answered(self, status: int, sent_at: float) -> None:
        now = time.perf_counter()
        self.report.statuses[status] += 1
        self.report.latencies_s.append(now - sent_at)
        self.report.elapsed_s = now - self._began

    def lost(self, exc: Exception | None) -> None:
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(exc)


def is_whole(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    start = answer.find(LENGTH, 0, head_end)
    length = int(answer[start + len(LENGTH) : answer.find(b"\r", start)]) if start >= 0 else 0
    return len(answer) >= head_end + 4 + length


async def load(
    port: int, request: Callable[[int], bytes], *, count: int, connections: int = 64, seconds: float = 60.0
) -> Report:
    """Send `count` requests (each made by `request(number)`) over `connections`, for at most `seconds`.

    All connections are open before the first request, and the time ends with the last answer.
    """
    assert 1 <= connections <= CONNECTIONS_MAX, "bounded"
    run = _Load(request, count)
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(connections):
        opened.append(await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port))
        run.open += 1
    run.begin([connection for _, connection in opened], seconds)
    async with asyncio.timeout(seconds + 10.0):
        await run.done
    return run.report


def post(path: str, body: bytes, *, token: str = "") -> bytes:
    """A whole POST request as bytes."""
    auth = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{auth}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
