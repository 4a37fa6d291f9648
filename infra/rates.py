"""Counts of calls that several API processes share: each tells the others its own, twice a second, over core NATS.

Nothing is stored: a count lives for its window. While NATS is away each process goes on with what it knows, so a
limit is then a limit per process; it never refuses a call because of that.
"""

from __future__ import annotations

import asyncio
import secrets
from array import array
from typing import Final

import msgspec
import structlog

from domain.errors import Unavailable
from infra.nats.wire.connection import Connection
from infra.nats.wire.frames import Frame

log = structlog.get_logger()

SUBJECT: Final = "ctl.rates"
TELL_S: Final = 0.5
"""Others know of a call at most a second later."""

KEYS_MAX: Final = 100_000
"""Keys counted one by one in a window; what comes later shares a room that does not grow, and is still counted."""
SKETCH_ROWS: Final = 4
SKETCH_BITS: Final = 15
"""Of a row's cells: half a megabyte in all. Half a million calls of as many keys make a count too high by about ten."""
KEYS_TOLD_MAX: Final = 5_000
"""Of one message, about 250 kB; the rest follows with the next."""


class Told(msgspec.Struct, array_like=True):
    """One process's counts of a window, those that changed."""

    process: str
    window: int
    counts: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Told)


class Sketch:
    """Counts of any number of keys in a fixed room: never too low, and too high only where keys share all their cells
    (a count-min sketch with conservative update). Which keys share cells, nobody outside can know: hashes are salted.
    """

    def __init__(self) -> None:
        self._rows = tuple(array("L", bytes(array("L").itemsize << SKETCH_BITS)) for _ in range(SKETCH_ROWS))

    def add(self, key: str) -> int:
        """Count one; how many there are."""
        hashed, mask = hash(key), (1 << SKETCH_BITS) - 1
        cells = [(row, hashed >> SKETCH_BITS * number & mask) for number, row in enumerate(self._rows)]
        lowest = min(row[cell] for row, cell in cells)
        for row, cell in cells:
            if row[cell] == lowest:
                row[cell] = lowest + 1
        return lowest + 1


class SharedCounter:
    """api.port.RateCounter. `run` must be running; without it, it counts for its own process.

    Beyond `keys_max` keys in a window, others are counted together, by this process alone: a little too high rather
    than not at all, so that a flood of invented keys neither ends the limits nor stops everybody.
    """

    def __init__(self, connection: Connection, *, keys_max: int = KEYS_MAX) -> None:
        self._connection, self._keys_max = connection, keys_max
        self._process = secrets.token_hex(8)
        self._window = 0
        self._own: dict[str, int] = {}
        self._changed: set[str] = set()
        self._told: dict[tuple[str, str], int] = {}
        self._others: dict[str, int] = {}
        self._sketch: Sketch | None = None

    def add(self, key: str, window: int) -> int:
        # Others may be one window ahead of us. More, and it was our own clock that was ahead and has been set right:
        # a count that is kept until then would refuse everybody.
        if window > self._window or window < self._window - 1:
            self._begin(window)
        count = self._own.get(key, 0) + 1
        if count > 1 or len(self._own) < self._keys_max:
            self._own[key] = count
            self._changed.add(key)
        else:
            if self._sketch is None:
                self._sketch = Sketch()
            count = self._sketch.add(key)
        return count + self._others.get(key, 0)

    async def run(self) -> None:
        """Tell and listen, for ever."""
        subscription = await self._connection.route(SUBJECT, self._take)
        try:
            while True:
                await asyncio.sleep(TELL_S)
                await self._tell()
        finally:
            await self._connection.unroute(subscription)

    async def _tell(self) -> None:
        keys = [self._changed.pop() for _ in range(min(len(self._changed), KEYS_TOLD_MAX))]
        if not keys:
            return
        told = Told(self._process, self._window, {key: self._own[key] for key in keys})
        try:
            await self._connection.tell(SUBJECT, _encode(told))
        except Unavailable:
            # While it waited for room another window may have begun, which knows nothing of these.
            self._changed.update(self._own.keys() & keys)

    def _take(self, frame: Frame) -> None:
        try:
            told = _decoder.decode(frame.data)
        except msgspec.DecodeError as error:
            log.warning("rates-unreadable", reason=str(error))
            return
        if told.process == self._process or told.window < self._window:
            return
        if self._own and told.window > self._window + 1:
            log.warning("rates-from-another-time", windows_ahead=told.window - self._window)
            return
        if told.window > self._window:
            self._begin(told.window)
        for key, count in told.counts.items():
            self._learn(told.process, key, count)

    def _learn(self, process: str, key: str, count: int) -> None:
        if len(self._told) >= self._keys_max and (process, key) not in self._told:
            return
        before = self._told.get((process, key), 0)
        self._told[process, key] = count
        self._others[key] = self._others.get(key, 0) + count - before

    def _begin(self, window: int) -> None:
        self._window = window
        self._own.clear()
        self._changed.clear()
        self._told.clear()
        self._others.clear()
        self._sketch = None
