"""The write side's ports on each backend, for the suites that hold the fakes to what the real ones do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pytest

from commands.port import EventStore, KeyStore
from infra.log.log import JetStreamLog, utc_now
from processes.port import Log
from tests.memory.clock import ManualClock
from tests.memory.event_store import MemoryEventStore
from tests.memory.keys import MemoryKeyStore
from tests.memory.log import MemoryLog
from tests.memory.streams import Streams

BACKENDS = ("memory", "jetstream")


@dataclass(frozen=True, slots=True)
class Doors:
    """let_pass: time goes by, for a backend whose clock stands still; the real one is waited for."""

    store: EventStore
    keys: KeyStore
    log: Log
    now: Callable[[], datetime]
    let_pass: Callable[[float], None]


def open_doors(request: pytest.FixtureRequest) -> Doors:
    """For a fixture with BACKENDS as its parameters. The real one is an empty log on a real server."""
    if request.param == "jetstream":
        log: JetStreamLog = request.getfixturevalue("log")
        return Doors(log.events, log.keys, log, utc_now, lambda seconds: None)
    clock = ManualClock()
    streams, keys = Streams(clock), MemoryKeyStore()
    memory = MemoryLog(streams, keys)
    memory.keeps = False
    return Doors(MemoryEventStore(streams, keys), keys, memory, clock, clock.advance)
