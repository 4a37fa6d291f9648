"""SIGNALS as the API writes it. Implements api.emarsys.port.SignalSink.

Batches of device events are acknowledged one by one: a device that has its answer has its events on the stream. The
log of interactions waits in memory, a client's calls together, and goes out a little later; it must never slow an
answer down, so what there is no room for is dropped and counted, and what is waiting when a process dies is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.devices.signal import (
    INTERACTION_KIND,
    DeviceEvents,
    Interaction,
    Interactions,
    SignalKind,
    signal_subject,
)
from domain.errors import TooLarge, Unavailable
from domain.recorded import SIGNALS
from infra.eventstore.wire import encode_signal, signal_lines
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
Whose = tuple[str, int]
"""The realm, and the number of the client's id or the merchant's: a hash of a UUID is a call of Python."""

WAITING_MAX = 20_000
"""Calls in memory: some seconds of a busy process, about 10 MB."""

CALLS_MAX = 500
"""Of one message, about 100 kB. No device makes so many in a quarter of a second; a merchant's pages together may."""

GATHER_S = 0.25
"""A device that starts makes its calls in a row; they go out as one message."""

BURST_MESSAGES_MAX = 64
BURST_BYTES_MAX = 1 << 20
"""Messages of the log of interactions that share a write and an acknowledgement: packing them takes the loop for less
than a millisecond.
"""

ACK_S_MAX = 5.0
"""A burst that is not acknowledged by then counts as lost."""

DRAIN_S_MAX = 2.0
"""How long the stop of a process waits for what is still in memory."""


class _Waiting(msgspec.Struct):
    """The calls of one client, or of one merchant's pages."""

    realm: str
    client: UUID
    app: str
    calls: list[Interaction] = []


class _Burst(msgspec.Struct):
    entries: list[Entry] = []
    calls: int = 0


class JetStreamSignals:
    """waiting, written, dropped: calls, since the start. in_flight: signals that wait for the stream."""

    def __init__(self, js: JetStream, guard: Guard, clock: Clock) -> None:
        self._clock = clock
        self._appender = Appender(js, guard, SIGNALS)
        self._waiting: dict[Whose, _Waiting] = {}
        self._some = asyncio.Event()
        self.waiting = self.written = self.dropped = self.in_flight = 0

    async def append(
        self, signal: DeviceEvents, *, kind: SignalKind, realm: str, correlation: str = ""
    ) -> int:
        lines = signal_lines(DeviceEvents, realm=realm, at=self._clock(), correlation=correlation)
        entry = Entry(signal_subject(kind, signal.client), lines, encode_signal(signal))
        self.in_flight += 1
        try:
            return await self._appender.append([entry])
        finally:
            self.in_flight -= 1

    def note(self, realm: str, client: UUID, app: str, call: Interaction) -> None:
        if self.waiting >= WAITING_MAX:
            self.dropped += 1
            return
        # Hot path: with every call of a device that is no signal itself.
        if not self._waiting:
            self._some.set()
        whose = (realm, client.int)
        of = self._waiting.get(whose)
        if of is None:
            of = self._waiting[whose] = _Waiting(realm, client, app)
        of.app = app
        of.calls.append(call)
        self.waiting += 1

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Interactions are written in here, the last ones at the end."""
        ending = asyncio.Event()
        task = asyncio.create_task(self._run(ending), name="interactions")
        try:
            yield
        finally:
            ending.set()
            self._some.set()
            await asyncio.wait((task,), timeout=DRAIN_S_MAX)
            task.cancel()
            await asyncio.wait((task,))
            if self.waiting:
                log.warning("interactions_left", calls=self.waiting)

    async def _run(self, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await ending.wait()
            await self._write_waiting()
        # What was noted while the last turn was under way.
        await self._write_waiting()

    async def _write_waiting(self) -> None:
        """All that waits now; what comes meanwhile waits for the next turn."""
        taken, self._waiting = self._waiting, {}
        self._some.clear()
        burst, at, size, lines = _Burst(), self._clock(), 0, dict[str, bytes]()
        for realm, signal in _messages(taken):
            if realm not in lines:
                lines[realm] = signal_lines(Interactions, realm=realm, at=at, correlation="")
            body = encode_signal(signal)
            burst.entries.append(Entry(signal_subject(INTERACTION_KIND, signal.client), lines[realm], body))
            burst.calls += len(signal.calls)
            size += len(body)
            if len(burst.entries) >= BURST_MESSAGES_MAX or size >= BURST_BYTES_MAX:
                await self._write(burst)
                burst, size = _Burst(), 0
        if burst.entries:
            await self._write(burst)

    async def _write(self, burst: _Burst) -> None:
        try:
            # Hot path: each first call of a device is a message here (a seventh of a registration's processor time when
            # each waited for its own acknowledgement; see bench/registrations.py).
            await self._appender.burst(burst.entries, timeout_s=ACK_S_MAX)
        except (Unavailable, TooLarge):
            self.dropped += burst.calls
        else:
            self.written += burst.calls
        finally:
            self.waiting -= burst.calls


class SignalFigures(Collector):
    """What became of the log of interactions, for /metrics."""

    def __init__(self, signals: JetStreamSignals) -> None:
        self._signals = signals

    def collect(self) -> Iterator[Metric]:
        signals = self._signals
        calls = CounterMetricFamily(
            "msgxc_interactions", "Calls of clients, by what became of their log.", labels=("state",)
        )
        calls.add_metric(("written",), signals.written)
        calls.add_metric(("dropped",), signals.dropped)
        yield calls
        waiting = GaugeMetricFamily("msgxc_interactions_waiting", "Calls that are not on the stream yet.")
        waiting.add_metric((), signals.waiting)
        yield waiting


def _messages(waiting: dict[Whose, _Waiting]) -> Iterator[tuple[str, Interactions]]:
    """Each one's calls, in order, as many as a message takes; with the realm."""
    for of in waiting.values():
        for first in range(0, len(of.calls), CALLS_MAX):
            calls = tuple(of.calls[first : first + CALLS_MAX])
            yield of.realm, Interactions(client=of.client, app=of.app, calls=calls)


async def open_signals(js: JetStream, clock: Clock) -> JetStreamSignals:
    """Raises Unavailable when there is no such stream, or no answer."""
    guard = Guard(js)
    await guard.begin((SIGNALS,))
    return JetStreamSignals(js, guard, clock)
