"""Who watches which shop in this process: one subscription per shop, each reader with a bounded queue of its own.

A reader that does not keep up is cut off, never waited for. What was lost on the way shows as a gap and is read
from the archive, so a reader sees every message once and in order. Knows no HTTP and no tokens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from api.ezout.frames import Frame, StreamIds
from api.ezout.port import ShopLog, Unsubscribe
from domain.errors import Unavailable
from domain.ids import Ids

FRAMES_MAX = 1_024
"""Frames that wait for one reader: five seconds of a till every 5 ms."""
BYTES_MAX = 1 << 20
"""Of one reader's frames: a hundred readers that hang hold 100 MiB at most, until their send times out."""
PAGE = 200
"""Messages of the archive read and written at once: 12 MiB at most for a reader; 500 are read a fifth faster."""
READERS_MAX = 20_000
"""Streams, sockets and exports at a time, those still in the archive among them."""


class TooSlow(Exception):
    """The reader was cut off; it comes back with its last id."""


class Draining(Exception):
    """We shut down; the reader goes on elsewhere."""


class Reader:
    """What one stream has still to be shown. is_behind: messages may have been lost; look into the archive."""

    __slots__ = ("_bytes", "_pending", "_wake", "is_behind", "is_cut", "is_draining")

    def __init__(self) -> None:
        self._pending: deque[Frame] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.is_cut = self.is_behind = self.is_draining = False

    def push(self, frame: Frame) -> None:
        if self.is_cut:
            return
        self._pending.append(frame)
        self._bytes += len(frame.body)
        if len(self._pending) > FRAMES_MAX or self._bytes > BYTES_MAX:
            self.is_cut = True
            self._pending.clear()
        self._wake.set()

    def look_again(self) -> None:
        self.is_behind = True
        self._wake.set()

    def drain(self) -> None:
        self.is_draining = True
        self._wake.set()

    async def take(self, timeout_s: float) -> Sequence[Frame]:
        """What has come, after `timeout_s` perhaps nothing. Raises TooSlow or Draining."""
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return ()
        self._wake.clear()
        if self.is_cut:
            raise TooSlow
        if self.is_draining:
            raise Draining
        frames, self._pending, self._bytes = self._pending, deque(), 0
        return frames


@dataclass(slots=True)
class _Shop:
    ids: StreamIds
    readers: set[Reader] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unsubscribe: Unsubscribe | None = None


class ShopHub:
    def __init__(self, log: ShopLog, ids: Ids) -> None:
        self.log, self._ids = log, ids
        self._shops: dict[UUID, _Shop] = {}
        self._stop_watching: Callable[[], None] | None = None
        self.readers = 0
        self.is_draining = False

    def stream_ids(self, shop: UUID) -> StreamIds:
        return StreamIds(self._ids, shop, self.log.epoch())

    def assert_room(self) -> None:
        """Raises Unavailable."""
        if self.is_draining:
            raise Unavailable("this process is shutting down; connect again")
        if self.readers >= READERS_MAX:
            raise Unavailable("this process has no room for another stream; try again soon")

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One reader more, from its first page of the archive on. Raises Unavailable."""
        self.assert_room()
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1

    def drain(self) -> None:
        """Tell every reader to go on elsewhere; take no new ones."""
        self.is_draining = True
        for shop in self._shops.values():
            for reader in shop.readers:
                reader.drain()

    @asynccontextmanager
    async def following(self, shop: UUID) -> AsyncIterator[Reader]:
        """A reader that gets every message which comes from now on. Raises Draining, Unavailable."""
        if self.is_draining:
            raise Draining
        reader = Reader()
        followed = self._shops.setdefault(shop, _Shop(self.stream_ids(shop)))
        followed.readers.add(reader)
        try:
            await self._subscribe(shop, followed)
            yield reader
        finally:
            followed.readers.discard(reader)
            await self._unsubscribe_if_unread(shop, followed)

    async def _subscribe(self, shop: UUID, followed: _Shop) -> None:
        if self._stop_watching is None:
            self._stop_watching = self.log.on_reconnect(self._look_again)

        def on_message(position: int, previous: int, body: bytes) -> None:
            frame = Frame(position, previous, body, followed.ids.give)
            for reader in followed.readers:
                reader.push(frame)

        async with followed.lock:
            if followed.unsubscribe is None:
                followed.unsubscribe = await self.log.subscribe(shop, on_message)

    async def _unsubscribe_if_unread(self, shop: UUID, followed: _Shop) -> None:
        async with followed.lock:
            if followed.readers or self._shops.get(shop) is not followed:
                return
            del self._shops[shop]
            if followed.unsubscribe is not None:
                await followed.unsubscribe()

    def _look_again(self) -> None:
        for shop in self._shops.values():
            for reader in shop.readers:
                reader.look_again()


Write = Callable[[Sequence[Frame]], Awaitable[None]]
Tick = Callable[[], Awaitable[None]]


class Following:
    """One reader's way through a shop's messages, from a position on. position: the last one it has passed."""

    def __init__(self, hub: ShopHub, shop: UUID, after: int, write: Write, tick: Tick) -> None:
        """tick: called often, whatever there is to be read."""
        self._hub, self._shop, self._write, self._tick = hub, shop, write, tick
        self._give = hub.stream_ids(shop).give
        self.position = after

    async def run(self, *, tick_s: float) -> None:
        """Until cancelled; `tick` at least every `tick_s`, but for what reading and writing a page takes.

        Raises TooSlow, Draining, Unavailable and what tick raises.
        """
        with self._hub.admitted():
            # A long way back is gone without a queue that fills up meanwhile.
            await self._catch_up()
            async with self._hub.following(self._shop) as reader:
                await self._catch_up()
                while True:
                    frames = await reader.take(tick_s)
                    if reader.is_behind:
                        reader.is_behind = False
                        await self._catch_up()
                    await self._show(frames)
                    await self._tick()

    async def _show(self, frames: Sequence[Frame]) -> None:
        new: list[Frame] = []
        for frame in frames:
            if frame.position <= self.position:
                continue
            if frame.previous > self.position:
                await self._write(new)
                new = []
                await self._catch_up()
                if frame.position <= self.position:
                    continue
            new.append(frame)
            self.position = frame.position
        await self._write(new)

    async def _catch_up(self) -> None:
        """Everything the archive has after our position."""
        while True:
            entries = await self._hub.log.since(self._shop, self.position, PAGE)
            await self._write([Frame(position, 0, body, self._give) for position, body, _ in entries])
            if entries:
                self.position = entries[-1][0]
            if len(entries) < PAGE:
                return
            if self._hub.is_draining:
                raise Draining
            await self._tick()
