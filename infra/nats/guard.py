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


class Known:
    """What this process relies on in one stream: the furthest position, and the body it had there.

    epoch "": nothing, since nobody has begun with it. checked: the connection on which it was last found the same.
    """

    __slots__ = ("body", "checked", "epoch", "lock", "position")

    def __init__(self) -> None:
        self.epoch, self.checked = "", 0
        self.position, self.body = 0, b""
        self.lock = asyncio.Lock()

    def saw(self, position: int, body: bytes) -> None:
        """An append was acknowledged at this position."""
        if position > self.position and self.epoch:
            self.position, self.body = position, body

    def is_checked(self, generation: int) -> bool:
        """Whether there is nothing to ask on the connection of this number."""
        return self.checked == generation or not self.epoch


class Guard:
    """Call `assert_same` before relying on a stream: free of cost until the connection was made anew."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._known: dict[str, Known] = {}

    async def begin(self, streams: Iterable[str]) -> None:
        """Take the streams as they are now."""
        for stream in streams:
            generation = self._js.connection.generation
            epoch = await self._epoch(stream)
            known = self.known(stream)
            known.epoch, known.checked = epoch, generation

    def known(self, stream: str) -> Known:
        """The stream's own, for whoever asks it with every append; one and the same, also before `begin`."""
        known = self._known.get(stream)
        if known is None:
            known = self._known[stream] = Known()
        return known

    def epoch(self, stream: str) -> str:
        return self._known[stream].epoch

    async def assert_same(self, stream: str) -> None:
        """Raises OtherLog."""
        known, generation = self.known(stream), self._js.connection.generation
        if known.is_checked(generation):
            return
        async with known.lock:
            if known.checked != generation:
                await self._check(stream, known)
                known.checked = generation

    async def _check(self, stream: str, known: Known) -> None:
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
