"""STATES in memory. Implements processes.port.StateLog."""

from __future__ import annotations

import msgspec

from domain.devices.client_state import StateChange
from domain.recorded import STATES
from infra.eventstore.wire import pack_bytes
from processes.port import Told
from tests.memory.lifeline import Lifeline
from tests.memory.ports.streams import Entry, Streams


class MemoryStates:
    def __init__(self, streams: Streams, life: Lifeline | None = None) -> None:
        self.streams, self._life = streams, life or Lifeline()

    async def last(self, subject: str) -> Told:
        await self._life.alive()
        found = self.streams.on_subject(STATES, subject)
        return Told(int(found[-1].headers["Nats-Msg-Id"]), found[-1].sequence) if found else Told(0, 0)

    async def append(self, subject: str, change: StateChange, *, expect: int) -> int:
        await self._life.alive()
        packed = pack_bytes(
            subject,
            "client-state.changed.v1",
            msgspec.json.encode(change),
            at=change.at,
            **{"Nats-Msg-Id": str(change.position)},
        )
        [position] = self.streams.append(STATES, [Entry(subject, packed.lines, packed.body, expect)])
        await self._life.step("state told")
        return position

    def told(self, subject: str = ">") -> list[StateChange]:
        found = self.streams.on_subject(STATES, subject)
        return [msgspec.json.decode(stored.data, type=StateChange) for stored in found]
