"""A port on loopback: the one that was served at before, so that addresses outlast a restart, else a free one. And
the end of serving there.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable

HOST = "127.0.0.1"
CLOSE_TIMEOUT_S = 2.0


async def bound(bind: Callable[[int], Awaitable[asyncio.Server]], wanted_port: int) -> asyncio.Server:
    """What `bind` makes of the wanted port, or of any free one when somebody else has it by now."""
    try:
        return await bind(wanted_port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return await bind(0)


async def closed(server: asyncio.Server, hang_ups: Iterable[Callable[[], None]]) -> None:
    """Nobody is let in any more, and who is there loses the connection. hang_ups: one for each."""
    server.close()
    for hang_up in hang_ups:
        hang_up()
    async with asyncio.timeout(CLOSE_TIMEOUT_S):
        await server.wait_closed()
