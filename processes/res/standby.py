"""Answers to RES gateways while the process that holds the lease gives none: it was killed, or hangs.

Each request goes to the holder and to one of those who stand by. That one asks whether the holder is there, which the
server answers at once for a process that has died, and keeps silent where it is. What a standby answers is what the
archive says, but no event will build on it; so whoever it was told to is told to ask again once there is a holder.
Owns who speaks; what is said is ResService's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from domain.errors import Unavailable
from processes.res.port import Bus, Handle, Reply, Unwatch

HOLDER = "msgxc.res.holder"
"""What the holder of the lease answers as long as it holds it."""
HOLDER_S = 1.0
"""A holder that does not answer in this time hangs, or we do; gateways wait 3 s."""
LOOK_S = 0.5
"""How long after there is a holder gateways may build on what a standby said."""
TOLD_MAX = 1_000
"""Resources that are named one by one when they are to be asked for again; beyond, all are."""
EVERY = "updates.store.>"


class Standby:
    """answer: as ResService answers while it does not hold the lease."""

    def __init__(self, bus: Bus, answer: Handle) -> None:
        self._bus, self._answer = bus, answer
        self._told: set[str] = set()
        self._has_told = asyncio.Event()

    @asynccontextmanager
    async def watching(self, subjects: Sequence[str], *, group: str) -> AsyncIterator[None]:
        """Stand by meanwhile. Who takes the lease then tells all gateways to ask again, whoever has answered them."""
        self._told.clear()
        self._has_told.clear()
        unwatches: list[Unwatch] = []
        following = asyncio.create_task(self._take_back())
        try:
            for subject in subjects:
                unwatches += [await self._bus.watch(subject, self._handle, group=group)]
            yield
        finally:
            following.cancel()
            for unwatch in unwatches:
                await unwatch()

    async def _handle(self, subject: str, payload: bytes, reply: Reply) -> None:
        if await self._is_held():
            return

        async def told(answer: bytes) -> None:
            # Noted first: a holder that comes while this leaves must not be overlooked.
            self._told.add(subject.partition(".")[2])
            self._has_told.set()
            await reply(answer)

        await self._answer(subject, payload, told)

    async def _is_held(self) -> bool:
        return await self._bus.is_answered(HOLDER, timeout_s=HOLDER_S)

    async def _take_back(self) -> None:
        """Once there is a holder, whoever we told something asks it."""
        while True:
            await self._has_told.wait()
            await asyncio.sleep(LOOK_S)
            if not await self._is_held():
                continue
            told = sorted(self._told) if len(self._told) <= TOLD_MAX else [EVERY]
            self._told.clear()
            self._has_told.clear()
            try:
                await self._bus.send("system.reset", msgspec.json.encode({"resources": told, "access": told}))
            except Unavailable:
                self._told.update(told)
                self._has_told.set()
