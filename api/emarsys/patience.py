"""What an SDK must not be refused for a moment's outage: asked again, for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from domain.errors import Unavailable

PATIENCE_S = 6.0
"""A leader is elected in less; SDKs wait for an answer for 10 s and more."""
PAUSE_S = 0.25


async def patiently[T](attempt: Callable[[], Awaitable[T]], *, patience_s: float = PATIENCE_S) -> T:
    """What the log does not answer is asked again for a while: an SDK whose refresh fails drops the call it was for.

    Raises Unavailable when even that was too short.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while True:
        try:
            return await attempt()
        except Unavailable:
            if loop.time() + PAUSE_S > until:
                raise
            await asyncio.sleep(PAUSE_S)
