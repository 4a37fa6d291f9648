"""A slice of requests on its way: one future for all of it, one result each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateways.http2.headers import literals
from gateways.transport import NO_HEADERS, Header, Request, Result


class Batch:
    """Filled by connections, request by request; each result is set once, the first one counts."""

    __slots__ = ("done", "left", "requests", "results", "shared")

    def __init__(self, requests: Sequence[Request], headers: Sequence[Header]) -> None:
        self.requests = requests
        self.shared = literals(headers)
        self.results: list[Result | None] = [None] * len(requests)
        self.left = len(requests)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, result: Result) -> None:
        if self.results[index] is not None:
            return
        self.results[index] = result
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Stream:
    """One request of a batch on a connection.

    status: 0 until the final headers came. unsent: what is left of the request's body; window: how much of it the
    peer takes on this stream, kept only while something is unsent.
    """

    __slots__ = ("batch", "body", "headers", "index", "status", "unsent", "window")

    def __init__(self, batch: Batch, index: int) -> None:
        self.batch, self.index = batch, index
        self.status = 0
        self.headers: Mapping[str, str] = NO_HEADERS
        self.body = b""
        self.unsent = b""
        self.window = 0
