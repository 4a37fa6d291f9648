"""What is done for a peer only as long as the peer is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def while_there[T](work: Coroutine[Any, Any, T], receive: Receive, gone: str) -> T | None:
    """What the work comes to; it ends, and there is nothing, when the peer hangs up (a message of the type `gone`)."""

    async def peer() -> None:
        while (await receive())["type"] != gone:
            pass

    working, hearing = asyncio.create_task(work), asyncio.create_task(peer())
    try:
        await asyncio.wait((working, hearing), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        hearing.cancel()
        await asyncio.wait((working, hearing))
