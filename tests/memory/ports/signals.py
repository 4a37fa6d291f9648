"""SIGNALS in memory. Implements api.emarsys.port.SignalSink."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from domain.devices.signal import DeviceEvents, Interaction, SignalKind
from domain.recorded import SIGNALS
from infra.eventstore.wire import pack_signal
from tests.memory.ports.log import MemoryLog
from tests.memory.ports.streams import Entry


class Noted(NamedTuple):
    """A call that was noted."""

    realm: str
    client: UUID
    app: str
    call: Interaction


class MemorySignals:
    """noted: the interactions, at once. in_flight: what a test makes it."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.noted: list[Noted] = []
        self.in_flight = 0

    async def append(
        self, signal: DeviceEvents, *, kind: SignalKind, realm: str, correlation: str = ""
    ) -> int:
        at = self._log.streams.clock.now
        packed = pack_signal(signal, kind, realm=realm, at=at, correlation=correlation)
        entry = Entry(packed.subject, packed.lines, packed.body)
        [position] = await self._log.put(SIGNALS, [entry])
        return position

    def note(self, realm: str, client: UUID, app: str, call: Interaction) -> None:
        self.noted.append(Noted(realm, client, app, call))
