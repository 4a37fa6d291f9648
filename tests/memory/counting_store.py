"""A store whose loads are counted and can be held back, for what remembers so as not to ask."""

from __future__ import annotations

import asyncio
from uuid import UUID

from domain.aggregate import Aggregate
from tests.memory.ports.event_store import MemoryEventStore


class CountingStore:
    """commands.port.EventStore's load, counted. gate: a load has read, and does not answer before it is set."""

    def __init__(self, store: MemoryEventStore) -> None:
        self._store, self.loads = store, 0
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def load[A: Aggregate](self, kind: type[A], id: UUID, *, fresh: bool = False) -> A | None:
        self.loads += 1
        assert fresh
        found = await self._store.load(kind, id, fresh=fresh)
        self.reached.set()
        await self.gate.wait()
        return found
