"""The write side's ports on each backend, for the suites that hold the fakes to what the real ones do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import pytest

from commands.port import EventStore, KeyStore
from domain.recorded import DELIVERY, EVENTS
from infra.log.log import JetStreamLog, utc_now
from processes.port import FeedLog, Log
from tests.memory.clock import ManualClock
from tests.memory.ports.event_store import MemoryEventStore
from tests.memory.ports.feeding import MemoryFeedLog
from tests.memory.ports.keys import MemoryKeyStore
from tests.memory.ports.log import MemoryLog
from tests.memory.ports.streams import Entry, Streams

BACKENDS = ("memory", "jetstream")


@dataclass(frozen=True, slots=True)
class Doors:
    """let_pass: time goes by, for a backend whose clock stands still; the real one is waited for.

    put: (subject, topic, body) of a message that none of our code has written.
    """

    store: EventStore
    keys: KeyStore
    log: Log
    feed: FeedLog
    now: Callable[[], datetime]
    let_pass: Callable[[float], None]
    put: Callable[[str, str, bytes], Awaitable[object]]


def open_doors(request: pytest.FixtureRequest) -> Doors:
    """For a fixture with BACKENDS as its parameters. The real one is an empty log on a real server."""
    if request.param == "jetstream":
        log: JetStreamLog = request.getfixturevalue("log")
        return Doors(log.events, log.keys, log, log.feed, utc_now, lambda seconds: None, _put_on(log))
    clock = ManualClock()
    streams, keys = Streams(clock), MemoryKeyStore()
    memory = MemoryLog(streams, keys)
    memory.keeps = False
    feed = MemoryFeedLog(streams)
    return Doors(MemoryEventStore(streams, keys), keys, memory, feed, clock, clock.advance, _put_in(streams))


def _put_on(log: JetStreamLog) -> Callable[[str, str, bytes], Awaitable[object]]:
    return lambda subject, topic, body: log.js.connection.ask(subject, body, lines=_lines(topic))


def _put_in(streams: Streams) -> Callable[[str, str, bytes], Awaitable[object]]:
    async def put(subject: str, topic: str, body: bytes) -> object:
        stream = EVENTS if subject.startswith("evt.") else DELIVERY
        return streams.append(stream, [Entry(subject, _lines(topic), body)])

    return put


def _lines(topic: str) -> bytes:
    return f"Topic: {topic}\r\n".encode() if topic else b""
