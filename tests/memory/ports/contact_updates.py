"""A suite's queue that outlives the processes that fill it."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.errors import Unavailable
from processes.devices.suite_updates import ContactUpdate
from tests.memory.lifeline import Lifeline


@dataclass(slots=True)
class SuiteQueue:
    """kept: what was confirmed, by id, in order. refuses: how many of the next sends get no confirm."""

    kept: list[tuple[str, ContactUpdate]] = field(default_factory=list)
    refuses: int = 0

    def latest(self) -> dict[int, ContactUpdate]:
        """How things are with each contact, as who reads the queue sees it: the highest position counts."""
        newest: dict[int, ContactUpdate] = {}
        for _, update in self.kept:
            known = newest.get(update.contact_id)
            if known is None or update.position >= known.position:
                newest[update.contact_id] = update
        return newest


class ScriptedUpdates:
    """processes.devices.suite_updates.ContactUpdates."""

    def __init__(self, queue: SuiteQueue, *, life: Lifeline | None = None) -> None:
        self._queue, self._life = queue, life or Lifeline()

    async def send(self, update: ContactUpdate, *, id: str) -> None:
        await self._life.alive()
        if self._queue.refuses:
            self._queue.refuses -= 1
            raise Unavailable("RabbitMQ does not confirm")
        self._queue.kept.append((id, update))
        await self._life.step("confirm")
