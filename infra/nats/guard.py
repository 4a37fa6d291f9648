"""Whether the log behind the connection is still the one this process began with.

After every reconnect, before anything is written or read on, each stream must have the epoch it had, reach
at least as far as what was acknowledged to us, and hold there what we appended. A log that lost its tail
would give positions out a second time; another log would take events that refer to nothing in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from domain.errors import Unavailable
from infra.nats.jetstream import JetStream
from infra.nats.streams import epoch_of


class OtherLog(Unavailable):
    """The log is another one, or has lost its tail: nothing may be written. A restart will say more."""

    retryable = False


class _Known:
    """What this process relies on in one stream: the furthest position, and the body it had there."""

    __slots__ = ("body", "checked", "epoch", "lock", "position")

    def __init__(self, epoch: str, generation: int) -> None:
        self.epoch, self.checked = epoch, generation
        self.position, self.body = 0, b""
        self.lock = asyncio.Lock()


class Guard:
    """Call `assert_same` before relying on a stream: free of cost until the connection was made anew."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._known: dict[str, _Known] = {}

    async def begin(self, streams: Iterable[str]) -> None:
        """Take the streams as they are now."""
        for stream in streams:
            generation = self._js.connection.generation
            self._known[stream] = _Known(await self._epoch(stream), generation)

    def epoch(self, stream: str) -> str:
        return self._known[stream].epoch

    def position(self, stream: str) -> int:
        """The furthest position that was acknowledged to us; 0 if none was yet."""
        known = self._known.get(stream)
        return 0 if known is None else known.position

    def saw(self, stream: str, position: int, body: bytes) -> None:
        """An append was acknowledged at this position."""
        known = self._known.get(stream)
        if known is not None and position > known.position:
            known.position, known.body = position, body

    def is_checked(self, stream: str) -> bool:
        """Whether `assert_same` has nothing to ask."""
        known = self._known.get(stream)
        return known is None or known.checked == self._js.connection.generation

    async def assert_same(self, stream: str) -> None:
        """Raises OtherLog."""
        known = self._known.get(stream)
        generation = self._js.connection.generation
        if known is None or known.checked == generation:
            return
        async with known.lock:
            if known.checked != generation:
                await self._check(stream, known)
                known.checked = generation

    async def _check(self, stream: str, known: _Known) -> None:
        # As it is before we ask: appends under way may be acknowledged meanwhile, beyond what the answer knows.
        position, body = known.position, known.body
        info = await self._js.info(stream)
        if info is None or epoch_of(info) != known.epoch:
            raise OtherLog(f"{stream} is another log than before")
        if info.state.last_seq < position:
            raise OtherLog(f"{stream} ends at {info.state.last_seq}, but {position} was acknowledged")
        if position < max(info.state.first_seq, 1):
            return  # aged out: nothing to compare with
        found = await self._js.leader_get(stream, seq=position)
        if found is not None and found.data != body:
            raise OtherLog(f"{stream} holds something else at {position}")

    async def _epoch(self, stream: str) -> str:
        info = await self._js.info(stream)
        if info is None:
            raise Unavailable(f"there is no stream {stream}")
        return epoch_of(info)
