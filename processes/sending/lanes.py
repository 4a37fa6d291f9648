"""Whose turn it is at a gateway: live pages at once, bulk ones when there are none, and always one of them.

Without that one, messages to a few that never stop would hold up those to many for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

KEPT = 1
"""Bulk pages that go on beside live ones: a broadcast slows down under them, and does not stop."""


class Lanes:
    """The pages at work in one process. Bulk pages beyond KEPT begin while no live one is at work."""

    def __init__(self) -> None:
        self._live = self._bulk = 0
        self._open = asyncio.Event()
        self._open.set()

    @contextmanager
    def live(self) -> Iterator[None]:
        self._live += 1
        self._changed()
        try:
            yield
        finally:
            self._live -= 1
            self._changed()

    @asynccontextmanager
    async def bulk(self) -> AsyncIterator[None]:
        while not self._open.is_set():
            # Several may be woken for one place: the first takes it.
            await self._open.wait()
        self._bulk += 1
        self._changed()
        try:
            yield
        finally:
            self._bulk -= 1
            self._changed()

    def _changed(self) -> None:
        if self._live and self._bulk >= KEPT:
            self._open.clear()
        else:
            self._open.set()
