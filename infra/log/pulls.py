"""Pull requests on a JetStream consumer: how much is asked for, and whether anybody still answers.

The consumer's side of flow control: the server sends what was asked for and no more. Whoever reads decides
how much that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from nats.aio.subscription import Subscription

from infra.nats.streams import NS
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Frame, Stored, description_of, parse_headers, publish_frame, status_of

EXPIRES_S = 30
"""A pull is asked for anew after this, even if nothing came."""

HEARTBEAT_S = 2
"""The server says that it is there, though it has nothing; three missed and the consumer is made again."""

PULL_BYTES_MAX = 16 << 20
"""What is on its way to a reader at most, whatever the number of messages; more than the largest message."""

_HARMLESS = ("Batch Completed", "Message Size Exceeds MaxBytes")


class Delivery(NamedTuple):
    """A message as a consumer delivers it. number: it counts from 1 without gaps."""

    stored: Stored
    number: int
    deliveries: int
    reply: str


class Puller:
    """Asks one consumer for messages and hands them to `take`, in order."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        take: Callable[[Delivery], None],
        wake: Callable[[], None],
        passes_over: Callable[[Frame], bool] | None = None,
    ) -> None:
        """wake: called when there is something else to look at: `broken`, `outstanding`.

        passes_over: asked first, whether a message is none for `take`.
        """
        self._connection, self._take, self._wake = connection, take, wake
        self._passes_over = passes_over
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = connection.new_inbox()
        self._subscription: Subscription | None = None
        self._generation = connection.generation
        self._failed = ""
        self._end_watch: Callable[[], None] = _nothing
        self.outstanding = 0
        self.heard_at = time.monotonic()

    async def open(self) -> None:
        self._subscription = await self._connection.route(self._inbox, self._on_frame)
        self._end_watch = self._connection.on_reconnect(self._wake)

    async def close(self) -> None:
        self._end_watch()
        if self._subscription is not None:
            await self._connection.unroute(self._subscription)

    @property
    def broken(self) -> str:
        """Why nothing more will come of it; "" while all is well."""
        if self._failed:
            return self._failed
        if self._connection.generation != self._generation or not self._connection.is_connected:
            return "the connection was lost"
        if self.outstanding and time.monotonic() - self.heard_at > 3 * HEARTBEAT_S:
            return "the server has fallen silent"
        return ""

    async def ask_for(self, messages: int) -> None:
        if not self.outstanding:
            self.heard_at = time.monotonic()
        self.outstanding += messages
        request = {
            "batch": messages,
            "max_bytes": PULL_BYTES_MAX,
            "expires": EXPIRES_S * NS,
            "idle_heartbeat": HEARTBEAT_S * NS,
        }
        payload = msgspec.json.encode(request)
        await self._connection.send(publish_frame(self._next, payload, reply=self._inbox))

    def _on_frame(self, frame: Frame) -> None:
        self.heard_at = time.monotonic()
        if not frame.reply:
            self._on_status(frame)
            return
        self.outstanding -= 1
        if self._passes_over is None or not self._passes_over(frame):
            self._take(_delivery(frame))

    def _on_status(self, frame: Frame) -> None:
        status, said = status_of(frame.headers), description_of(frame.headers)
        if status == 100:
            return
        if status in {404, 408} or said in _HARMLESS:
            left = parse_headers(frame.headers).get("Nats-Pending-Messages", "0")
            self.outstanding = max(0, self.outstanding - int(left))
        else:
            self._failed = said or f"status {status}"
        self._wake()


def _nothing() -> None:
    """To be called where there is nothing to end."""


def _delivery(frame: Frame) -> Delivery:
    """`$JS.ACK.[domain.account.]stream.consumer.delivered.sequence.number.time.pending[.token]`."""
    reply = frame.reply.decode()
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    deliveries, sequence, number = tokens[first + 2 : first + 5]
    headers = parse_headers(frame.headers) if frame.headers else {}
    stored = Stored(frame.subject.decode(), int(sequence), headers, frame.data)
    return Delivery(stored, int(number), int(deliveries), reply)
