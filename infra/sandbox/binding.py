"""A port on loopback: the one that was served at before, so that addresses outlast a restart, else a free one."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

HOST = "127.0.0.1"


async def bound(bind: Callable[[int], Awaitable[asyncio.Server]], wanted_port: int) -> asyncio.Server:
    """What `bind` makes of the wanted port, or of any free one when somebody else has it by now."""
    try:
        return await bind(wanted_port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return await bind(0)
