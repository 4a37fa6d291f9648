"""Tells the site's own system of visitors whose mail address became known. What it says to that is logged, no more.

Off where no such system is configured. Each fact is told once, and again only after a crash in between.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from domain.client import Client
from domain.errors import Unavailable
from domain.recorded import EVENTS
from processes.port import Log, Task
from processes.worker import Post, work

log = structlog.get_logger(__name__)

POST = Post(
    EVENTS,
    "visitors",
    ("evt.client.>",),
    in_flight=8,
    topics=(Client.Enrolled.TOPIC, Client.Introduced.TOPIC, Client.EmailSet.TOPIC),
)


class VisitorRegister(Protocol):
    async def save(self, *, domain: str, visitor: str, email: str) -> None:
        """Raises Unavailable when it was not taken, whatever the reason."""
        ...


class Visitors:
    def __init__(self, *, log: Log, register: VisitorRegister) -> None:
        self._log, self._register = log, register

    async def run(self) -> None:
        await work(self._log, POST, self.handle)

    async def handle(self, task: Task) -> None:
        event = task.fact.body
        if not isinstance(event, Client.Enrolled | Client.Introduced | Client.EmailSet):
            return
        if not (event.app and event.visitor and event.email):
            return
        try:
            await self._register.save(domain=event.app, visitor=event.visitor, email=event.email)
        except Unavailable as error:
            log.warning("visitor_not_registered", position=task.position, reason=error.detail)
