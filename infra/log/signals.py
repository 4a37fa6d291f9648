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

from domain.errors import TooLarge, Unavailable
from domain.recorded import SIGNALS
from domain.signal import INTERACTION_KIND, DeviceEvents, Interaction, Interactions, SignalKind
from infra.eventstore.wire import Packed, pack_signal
from infra.nats.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]
Whose = tuple[str, UUID]
"""The realm, and the client or the merchant."""

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


class _Burst(msgspec.Struct):
    entries: list[Entry] = []
    calls: int = 0


class JetStreamSignals:
    """waiting, written, dropped: calls, since the start. in_flight: signals that wait for the stream."""

    def __init__(self, js: JetStream, guard: Guard, clock: Clock) -> None:
        self._clock = clock
        self._appender = Appender(js, guard, SIGNALS)
        self._waiting: dict[Whose, list[Interaction]] = {}
        self._apps: dict[Whose, str] = {}
        self._some = asyncio.Event()
        self.waiting = self.written = self.dropped = self.in_flight = 0

    async def append(
        self, signal: DeviceEvents, *, kind: SignalKind, realm: str, correlation: str = ""
    ) -> int:
        packed = pack_signal(signal, kind, realm=realm, at=self._clock(), correlation=correlation)
        self.in_flight += 1
        try:
            return await self._appender.append([_entry(packed)])
        finally:
            self.in_flight -= 1

    def note(self, realm: str, client: UUID, app: str, call: Interaction) -> None:
        if self.waiting >= WAITING_MAX:
            self.dropped += 1
            return
        key = (realm, client)
        self._waiting.setdefault(key, []).append(call)
        self._apps[key] = app
        self.waiting += 1
        self._some.set()

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
        taken, apps = self._waiting, self._apps
        self._waiting, self._apps = {}, {}
        self._some.clear()
        burst, at, size = _Burst(), self._clock(), 0
        for (realm, client), calls in _messages(taken):
            signal = Interactions(client=client, app=apps[realm, client], calls=calls)
            burst.entries.append(
                _entry(pack_signal(signal, INTERACTION_KIND, realm=realm, at=at, correlation=""))
            )
            burst.calls += len(calls)
            size += len(burst.entries[-1].body)
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


def _messages(waiting: dict[Whose, list[Interaction]]) -> Iterator[tuple[Whose, tuple[Interaction, ...]]]:
    """Each one's calls, in order, as many as a message takes."""
    for whose, calls in waiting.items():
        for first in range(0, len(calls), CALLS_MAX):
            yield whose, tuple(calls[first : first + CALLS_MAX])


def _entry(packed: Packed) -> Entry:
    return Entry(packed.subject, packed.lines, packed.body)


async def open_signals(js: JetStream, clock: Clock) -> JetStreamSignals:
    """Raises Unavailable when there is no such stream, or no answer."""
    guard = Guard(js)
    await guard.begin((SIGNALS,))
    return JetStreamSignals(js, guard, clock)
