"""Scheduled messages: writes their schedules from EVENTS, and starts them when their time has come.

A schedule can be written and can fire again: what it starts is guarded by the message's own state.
"""

from __future__ import annotations

from uuid import UUID

from commands.bus import Bus
from commands.messaging import FallDue
from domain.context import Context
from domain.errors import NotFound
from domain.message import Message
from domain.recorded import EVENTS, SCHEDULES
from processes.port import Log, Task
from processes.worker import Post, work

ACCEPTED = Post(
    EVENTS,
    "scheduler",
    ("evt.message.>",),
    topics=(Message.Accepted.TOPIC, Message.Cancelled.TOPIC),
)
DUE = Post(SCHEDULES, "due-messages", ("due.message.>",))


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
