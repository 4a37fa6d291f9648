"""A connection that keeps what is written to it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec


class Recording:
    """api.sockets.follower.Connection that keeps what was written; `full` as long as the other end does not read."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.closed: tuple[int, str] | None = None
        self.room = asyncio.Event()
        self.room.set()

    @property
    def is_full(self) -> bool:
        return not self.room.is_set()

    def write(self, data: bytes) -> None:
        if self.closed is None:
            self.written += data
            self.writes += 1

    async def drained(self) -> None:
        await self.room.wait()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self.room.set()

    @property
    def frames(self) -> list[dict[str, Any]]:
        events = [event for event in self.written.decode().split("\n\n") if event]
        return [msgspec.json.decode(event.partition("data: ")[2]) for event in events]

    @property
    def texts(self) -> list[str]:
        return [frame["msg"] for frame in self.frames]
