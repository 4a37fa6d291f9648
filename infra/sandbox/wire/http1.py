"""One HTTP/1.1 connection of a client, over `httptools`: one request at a time, in order.

Owns framing and the connection's end. Never judges a request, and never answers before it is told to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import httptools

from infra.sandbox.desk import Answer, Desk, Provider, Request
from infra.sandbox.wire.stream import PIECE_GAP_S, cut_off

PIPELINE_MAX = 100
"""Requests of one connection waiting behind the one that is being answered; beyond it the connection ends."""

HEADER_BYTES_MAX = 16_384


class Http1(asyncio.Protocol):
    """Speaks HTTP/1.1 for one provider; also the line of the request being answered."""

    def __init__(self, provider: Provider, desk: Desk, closed: Callable[[asyncio.Protocol], None]) -> None:
        self.provider, self.desk, self._closed = provider, desk, closed
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._answering: bool = False
        self._keep_alive = True
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._waiting.clear()
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.close()

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            raise ValueError("headers too large")
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._bytes += len(data)
        if len(self._body) <= self.provider.body_bytes_max:
            self._body += data

    def on_message_complete(self) -> None:
        request = Request(
            self._parser.get_method().decode(),
            self._target.decode("latin-1"),
            self._headers,
            bytes(self._body),
            self._bytes,
            time.time(),
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._waiting) > PIPELINE_MAX:
            self.close()
        elif not self._answering:
            self._next()

    def answer(self, answer: Answer) -> None:
        if self.transport is None:
            return
        phrase = HTTPStatus(answer.status).phrase if answer.status in HTTPStatus else "Unknown"
        head = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{k}: {v}" for k, v in answer.headers)]
        head.append(f"content-length: {len(answer.body)}")
        if all(name != "date" for name, _ in answer.headers):
            head.append(f"date: {formatdate(usegmt=True)}")
        if not self._keep_alive:
            head.append("connection: close")
        start = "\r\n".join(head).encode() + b"\r\n\r\n"
        if answer.piece_bytes:
            self._write(start)
            self._write_pieces(memoryview(answer.body), answer.piece_bytes)
        else:
            self._write(start + answer.body)
            self._answered()

    def hang(self) -> None:
        """Nothing is sent; the connection stays until the client ends it."""

    def reset(self, error: str, *, connection: bool) -> None:
        if self.transport:
            cut_off(self.transport)

    def refuse(self) -> None:
        self.close()

    def bar(self, *, processed: bool) -> None:
        self._waiting.clear()

    def go_away(self, *, error: str, linger_s: float) -> None:
        asyncio.get_running_loop().call_later(linger_s, self.close)

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def _begin(self) -> None:
        self._target, self._body, self._bytes = b"", bytearray(), 0
        self._headers: dict[str, str] = {}
        self._header_bytes = 0

    def _next(self) -> None:
        if self._waiting and self.transport:
            request, self._keep_alive = self._waiting.popleft()
            self._answering = True
            self.desk.receive(self.provider, request, self)

    def _answered(self) -> None:
        self._answering = False
        if self._keep_alive:
            self._next()
        else:
            self.close()

    def _write(self, data: bytes) -> None:
        if self.transport:
            self.transport.write(data)

    def _write_pieces(self, rest: memoryview, piece_bytes: int) -> None:
        self._write(bytes(rest[:piece_bytes]))
        if len(rest) > piece_bytes:
            loop = asyncio.get_running_loop()
            loop.call_later(PIECE_GAP_S, self._write_pieces, rest[piece_bytes:], piece_bytes)
        else:
            self._answered()
