"""One named thread with an event loop, for callers that have none: the boundary to synchronous code."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

from infra.nats.jetstream import JetStream
from infra.nats.wire.connection import Endpoint, connected

CALL_S_MAX = 60.0
"""A call is bounded by its own time-outs; beyond this the thread itself has failed."""


class BlockingJetStream:
    """JetStream on a connection of its own, in a thread of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="msgxc-recorder", daemon=True)
        self._thread.start()
        self._resources = contextlib.AsyncExitStack()
        try:
            self.js = self.call(self._open())
        except BaseException:
            self._end()
            raise

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for what it returns or raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S_MAX)

    def close(self) -> None:
        if self._thread.is_alive():
            self.call(self._resources.aclose())
            self._end()

    async def _open(self) -> JetStream:
        return JetStream(await self._resources.enter_async_context(connected(self._endpoint)))

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
