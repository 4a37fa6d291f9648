"""Contact updates to a RabbitMQ queue. Implements processes.devices.suite_updates.ContactUpdates.

Owns one connection, opened when the first update needs it, and again after it broke. Publishes persistent messages to
a durable queue and waits for the broker's confirm; never consumes, and never keeps an update that was not confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity

from domain.errors import Unavailable
from processes.devices.suite_updates import ContactUpdate

CONNECT_S_MAX: Final = 5.0
CONFIRM_S_MAX: Final = 5.0
"""A broker that writes to its disk confirms within milliseconds, one under load within a second."""
CLOSE_S_MAX: Final = 2.0
HEARTBEAT_S: Final = 10
"""A broker that is gone without a word is noticed after two of them; sends time out before."""

BROKEN: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
"""What the library raises when the broker, or the way to it, is not as it should be."""

_ENCODER = msgspec.json.Encoder()


class RabbitUpdates:
    """Any number of sends may be under way at once."""

    def __init__(self, url: str, queue: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._url, self._queue, self._ssl_context = url, queue, ssl_context
        self._opening = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def send(self, update: ContactUpdate, *, id: str) -> None:
        message = aio_pika.Message(
            _ENCODER.encode(update),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=id,
            timestamp=update.at,
            type="contact-update.v1",
        )
        with _as_unavailable():
            channel = await self._opened()
            try:
                # mandatory: a message that no queue takes comes back, instead of being confirmed and dropped.
                await channel.default_exchange.publish(
                    message, self._queue, mandatory=True, timeout=CONFIRM_S_MAX
                )
            except BROKEN:
                await self._leave(channel)
                raise

    async def aclose(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*BROKEN):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await connection.close()

    async def _leave(self, channel: AbstractChannel) -> None:
        """The next send opens another, unless somebody has done so meanwhile."""
        if channel is self._channel:
            await self.aclose()

    async def _opened(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            await self.aclose()
            async with asyncio.timeout(CONNECT_S_MAX):
                self._connection = await aio_pika.connect(
                    self._url, ssl_context=self._ssl_context, heartbeat=HEARTBEAT_S
                )
                self._channel = await self._with_queue(self._connection)
            return self._channel

    async def _with_queue(self, connection: AbstractConnection) -> AbstractChannel:
        """A channel to a queue that is there: as its operator made it, of whatever type, else as we make it."""
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        try:
            await channel.declare_queue(self._queue, passive=True)
        except ChannelNotFoundEntity:  # which has closed the channel
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await channel.declare_queue(self._queue, durable=True)
        return channel


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise Unavailable(f"RabbitMQ does not confirm: {type(error).__name__}: {error}") from error
    except asyncio.CancelledError:
        # The library cancels what waits on a connection that breaks. Who was not cancelled from outside goes on.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable("the connection to RabbitMQ broke") from None
