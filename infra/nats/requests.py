"""Requests over core NATS, answered: a bounded number at a time. Implements processes.res.port.Bus.

Nothing here is stored; what is sent while the connection is lost is lost, and who sends hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from domain.errors import Unavailable
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Frame, status_of

REQUESTS_MAX = 256
"""Under way at once; further ones are dropped, and whoever asked asks again after its time-out."""

NOBODY_THERE = 503
"""What the server itself says to a request that nobody watches for."""

log = structlog.get_logger()

Reply = Callable[[bytes], Awaitable[None]]
Handle = Callable[[str, bytes, Reply], Awaitable[None]]


class RequestBus:
    """Use `request_bus`, which ends what is under way."""

    def __init__(self, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        self._connection, self._tasks = connection, tasks
        self._under_way = 0

    async def watch(self, subject: str, handle: Handle, *, group: str = "") -> Callable[[], Awaitable[None]]:
        def on_frame(frame: Frame) -> None:
            if not frame.reply:
                return
            if self._under_way >= REQUESTS_MAX:
                log.warning("request-dropped", subject=subject)
                return
            self._under_way += 1
            self._tasks.create_task(self._answer(frame, handle))

        subscription = await self._connection.route_surely(subject, on_frame, group=group)
        return lambda: self._connection.unroute(subscription)

    async def _answer(self, frame: Frame, handle: Handle) -> None:
        async def reply(payload: bytes) -> None:
            await self.send(frame.reply.decode(), payload)

        try:
            await handle(frame.subject.decode(), frame.data, reply)
        except Unavailable as error:
            # The connection broke: nobody is there to hear the answer.
            log.info("request-unanswered", reason=str(error))
        except Exception:
            # The bus: what breaks on one request must not take the others with it. Whoever asked hears nothing.
            log.exception("request-broke", subject=frame.subject.decode("utf-8", "replace"))
        finally:
            self._under_way -= 1

    async def send(self, subject: str, payload: bytes) -> None:
        await self._connection.tell(subject, payload)

    async def is_answered(self, subject: str, *, timeout_s: float) -> bool:
        try:
            frame = await self._connection.ask(subject, timeout_s=timeout_s)
        except Unavailable:
            return False
        return status_of(frame.headers) != NOBODY_THERE

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        return self._connection.on_reconnect(call)


@contextlib.asynccontextmanager
async def request_bus(connection: Connection) -> AsyncIterator[RequestBus]:
    async with asyncio.TaskGroup() as tasks:
        yield RequestBus(connection, tasks)
