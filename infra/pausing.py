"""Holding a projecting process still for a moment, asked for over NATS by a command that compares read models.

    ctl.projecting.pause   "hold still": answered once nothing is being applied any more
    ctl.projecting.resume  "go on"

A pause ends by itself after PAUSE_S unless it is asked for again, so that a command that was killed stalls nothing.
Reads, and everything but the read models, go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import structlog

from domain.errors import Unavailable
from domain.recorded import Checkpoint, Recorded
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Frame
from processes.port import Log, Poison

log = structlog.get_logger()

PAUSE: Final = "ctl.projecting.pause"
RESUME: Final = "ctl.projecting.resume"

PAUSE_S: Final = 15.0
RENEW_S: Final = 5.0
HOLD_S_MAX: Final = 10.0
"""A batch that is being applied ends well within this."""

Batch = Sequence[Recorded | Poison]


class Gate:
    """Lets batches through while it is open. Closing returns once no batch is in anybody's hands."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_hand = 0
        self._lapse: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Renewing a closed gate starts its time anew."""
        self._open.clear()
        if self._lapse is not None:
            self._lapse.cancel()
        self._lapse = asyncio.get_running_loop().call_later(PAUSE_S, self.open)
        await self._idle.wait()

    def open(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None
        self._open.set()

    async def through(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        async for batch in batches:
            await self._open.wait()
            self._in_hand += 1
            self._idle.clear()
            try:
                yield batch
            finally:
                self._in_hand -= 1
                if not self._in_hand:
                    self._idle.set()


def gated(events: Log, gate: Gate) -> Log:
    """`events`, whose `follow` hands out batches through the gate."""
    return cast("Log", _Gated(events, gate))


class _Gated:
    def __init__(self, events: Log, gate: Gate) -> None:
        self._log, self._gate = events, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def follow(self, stream: str, start: Checkpoint | None, **options: Any) -> AsyncIterator[Batch]:
        return self._gate.through(self._log.follow(stream, start, **options))


@contextlib.asynccontextmanager
async def obeying(connection: Connection, gate: Gate) -> AsyncIterator[None]:
    """Close and open the gate when a command asks for it."""
    answering: set[asyncio.Task[None]] = set()

    async def answer(frame: Frame) -> None:
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(HOLD_S_MAX):
                await gate.close()
            log.info("projecting-paused", at_most_s=PAUSE_S)
            await connection.tell(frame.reply.decode(), b"held")

    def on_pause(frame: Frame) -> None:
        task = asyncio.create_task(answer(frame))
        answering.add(task)
        task.add_done_callback(answering.discard)

    def on_resume(_frame: Frame) -> None:
        gate.open()

    routes = [await connection.route(PAUSE, on_pause), await connection.route(RESUME, on_resume)]
    try:
        yield
    finally:
        gate.open()
        for route in routes:
            await connection.unroute(route)
        for task in tuple(answering):
            task.cancel()


@contextlib.asynccontextmanager
async def held_still(connection: Connection) -> AsyncIterator[bool]:
    """No projecting process applies anything inside. Whether there was one to hold."""
    if not await _ask(connection):
        yield False
        return
    renewing = asyncio.create_task(_renew(connection))
    try:
        yield True
    finally:
        renewing.cancel()
        with contextlib.suppress(Unavailable):
            await connection.tell(RESUME)


async def _renew(connection: Connection) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        await _ask(connection)


async def _ask(connection: Connection) -> bool:
    """Raises Unavailable when there is a projecting process that does not hold still in time."""
    frame = await connection.ask(PAUSE, timeout_s=HOLD_S_MAX + 1)
    return frame.data == b"held"
