"""One origin's HTTP/2 connections and the queue in front of them.

Opens connections when there is work, replaces those that end, backs off when a peer does not answer. Never repeats a
request: one that was handed to a connection is settled by that connection or by its deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Collection, Sequence

from gateways.http2.batch import Batch
from gateways.http2.connection import Connection, Keepalive, Waiting
from gateways.http2.dial import DialFailed, Origin, Resolve, dial, resolve_any, tls_context
from gateways.transport import Header, NotSent, Request, Result

WAITING_MAX = 20_000
"""Requests queued before a connection takes them; beyond it the provider is behind, and more would only expire."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 10.0
"""Between attempts to connect: doubled after each that led to nothing, and jittered."""
DRAIN_S = 5.0
"""How long `aclose` waits for answers that are due."""
CLOSE_S = 1.0
"""How long it then waits for the peers to close their side."""
RENEWAL_S = 1.0
"""Between connections given up for their answers: a peer that refuses everything is not dialed for each refusal."""


class Backoff:
    """When the next attempt may be made. Jitter keeps processes from coming back together."""

    def __init__(self) -> None:
        self.failures = 0
        self._not_before = 0.0

    def failed(self, now: float) -> None:
        self.failures += 1
        ceiling = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self.failures, 16))
        self._not_before = now + random.uniform(ceiling / 2, ceiling)  # noqa: S311  spreads load, hides nothing

    def worked(self) -> None:
        self.failures, self._not_before = 0, 0.0

    def wait_s(self, now: float) -> float:
        return max(0.0, self._not_before - now)


class Http2Transport:
    """A `Transport` to one https origin.

    connections_max: opened one by one as all others are full. renew_on: statuses after which a connection takes no more
    requests: what is open on it is answered, the next go to a new one.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        constants: Sequence[Header] = (),
        connections_max: int = 1,
        renew_on: Collection[int] = (),
        waiting_max: int = WAITING_MAX,
        resolve: Resolve = resolve_any,
        keepalive: Keepalive | None = None,
    ) -> None:
        self.origin = Origin.of(url)
        self._tls, self._resolve = tls_context(ca_file, "h2"), resolve
        self._constants = dict(constants)
        self._connections_max, self._waiting_max = connections_max, waiting_max
        self._connections: list[Connection] = []
        self._waiting: Waiting = deque()
        self._renew_on, self._renewed_at = frozenset(renew_on), -RENEWAL_S
        self._backoff = Backoff()
        self._dialing: asyncio.Task[None] | None = None
        self._keepalive = keepalive or Keepalive()
        self._closing = False

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        if not requests:
            return []
        if self._closing or len(self._waiting) + len(requests) > self._waiting_max:
            refusal = NotSent("closing" if self._closing else "overloaded")
            return [refusal] * len(requests)
        batch = Batch(requests, headers)
        self._waiting.extend((batch, index) for index in range(len(requests)))
        for connection in self._connections:
            connection.probe()
        self._advance()
        try:
            await asyncio.wait((batch.done,), timeout=deadline_s)
        finally:
            if batch.left:
                self._expire(batch)
        return [result for result in batch.results if result is not None]

    def set_header(self, name: bytes, value: bytes) -> None:
        self._constants[name] = value
        for connection in self._connections:
            connection.set_constants(tuple(self._constants.items()))

    async def aclose(self) -> None:
        """Let answers that are due come in, then close. What still waits is NotSent."""
        self._closing = True
        self._fail_waiting(NotSent("closing"))
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.wait((self._dialing,))
        connections = list(self._connections)
        if due := {future for connection in connections for future in connection.due()}:
            await asyncio.wait(due, timeout=DRAIN_S)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=CLOSE_S)
        for connection in connections:
            connection.abort()

    def _advance(self) -> None:
        """Hand out what waits; open a connection when those there are cannot take it all."""
        for connection in self._connections:
            if not self._waiting:
                return
            connection.take(self._waiting)
        usable = sum(not connection.draining for connection in self._connections)
        if self._waiting and usable < self._connections_max and self._dialing is None and not self._closing:
            self._dialing = asyncio.create_task(self._dial(), name=f"dial {self.origin.host}")

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(self._backoff.wait_s(loop.time()))
            connection = await dial(self.origin, self._tls, self._open, self._resolve)
            if connection.ended:
                raise DialFailed("connect", "it went away at once")
            self._connections.append(connection)
        except DialFailed as failure:
            self._backoff.failed(loop.time())
            if not any(not connection.draining for connection in self._connections):
                self._fail_waiting(NotSent(failure.code, failure.detail))
        finally:
            self._dialing = None
        self._advance()

    def _open(self) -> Connection:
        return Connection(
            self.origin.authority.encode(),
            tuple(self._constants.items()),
            on_room=self._advance,
            on_end=self._ended,
            on_status=self._answered,
            keepalive=self._keepalive,
        )

    def _answered(self, connection: Connection, status: int) -> None:
        """A server that is in trouble tends to stay so; the next connection may lead to another."""
        if status not in self._renew_on or connection.draining:
            return
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= RENEWAL_S:
            self._renewed_at = now
            connection.retire()

    def _ended(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # it never became ready: `dial` tells why
        self._connections.remove(connection)
        if connection.answered:
            self._backoff.worked()
        else:
            self._backoff.failed(asyncio.get_running_loop().time())
        self._advance()

    def _expire(self, batch: Batch) -> None:
        """Its deadline has come, or its caller has gone: nothing of it stays behind."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not batch)
        for connection in list(self._connections):
            connection.abandon(batch, "deadline")
        for index, result in enumerate(batch.results):
            if result is None:
                batch.settle(index, NotSent("deadline", "no connection had room for it"))

    def _fail_waiting(self, result: NotSent) -> None:
        waiting, self._waiting = self._waiting, deque()
        for batch, index in waiting:
            batch.settle(index, result)
