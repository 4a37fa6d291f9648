"""Scheduled messages: writes their schedules from EVENTS, and starts them when their time has come.

A schedule can be written and can fire again: what it starts is guarded by the message's own state. Nor is it the only
record: a message whose time passed while nobody worked is found among the upcoming ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from commands.bus import Bus
from commands.messaging import FallDue
from domain.context import Context
from domain.errors import NotFound, Unavailable
from domain.message import Message
from domain.recorded import EVENTS, SCHEDULES
from processes.port import Log, Task
from processes.worker import Post, work
from projections.messages import UPCOMING
from projections.port import Row, Table

log = structlog.get_logger(__name__)

ACCEPTED = Post(
    EVENTS,
    "scheduler",
    ("evt.message.>",),
    topics=(Message.Accepted.TOPIC, Message.Cancelled.TOPIC),
)
DUE = Post(SCHEDULES, "due-messages", ("due.message.>",))


LATE = timedelta(minutes=1)
"""What its schedule has not started by then may have lost it: the server keeps what is due for a week only."""
LOOK_S = 3_600.0
PAUSE_S = 5.0
"""Before another look, when the log or the read models are away."""


def target(realm: str, message: UUID) -> str:
    return f"due.message.{realm}.{message.hex}"


class Scheduler:
    """Follows messages, and writes or takes back their schedules."""

    def __init__(self, *, log: Log) -> None:
        self._log = log

    async def run(self) -> None:
        await work(self._log, ACCEPTED, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        match fact.body:
            case Message.Accepted() as event if event.scheduled_at is not None:
                id = event.originator_id
                await self._log.schedule(
                    f"message-{id.hex}",
                    event.scheduled_at,
                    target=target(fact.realm, id),
                    body=fact.correlation.encode(),
                )
            case Message.Cancelled() as event:
                await self._log.unschedule(f"message-{event.originator_id.hex}")
            case _:
                return


class DueMessages:
    """Starts messages whose time has come."""

    def __init__(self, *, log: Log, bus: Bus) -> None:
        self._log, self._bus = log, bus

    async def run(self) -> None:
        await work(self._log, DUE, self.handle)

    async def handle(self, task: Task) -> None:
        _, _, realm, message = task.subject.split(".")
        context = Context(realm, "scheduler", task.subject, task.raw.decode())
        try:
            await self._bus.execute(FallDue(message=UUID(message)), context)
        except NotFound as error:
            raise ValueError("a schedule without its message") from error


class Scans(Protocol):
    def scan(self, table: Table) -> AsyncIterator[list[Row]]:
        """All rows, each once, in no promised order. Errors: domain.errors.Unavailable."""
        ...


class OverdueMessages:
    """Starts messages whose time passed while nobody worked: at the start, and every hour since.

    A row that is behind the log does no harm: what is due already is not due again.
    """

    def __init__(self, *, bus: Bus, models: Scans, clock: Callable[[], datetime]) -> None:
        self._bus, self._models, self._clock = bus, models, clock

    async def run(self) -> None:
        while True:
            try:
                await self._catch_up()
            except Unavailable as error:
                log.info("overdue_waits", reason=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                await asyncio.sleep(LOOK_S)

    async def _catch_up(self) -> None:
        late = self._clock() - LATE
        async for rows in self._models.scan(UPCOMING):
            for row in rows:
                if row["scheduled"] <= late:
                    await self._start(row["realm"], row["message"])

    async def _start(self, realm: str, message: UUID) -> None:
        try:
            await self._bus.execute(FallDue(message=message), Context(realm, "scheduler", "overdue"))
        except NotFound:
            # A row of another life of the log, which a rebuild takes away.
            log.warning("overdue_without_message", message=message.hex)
