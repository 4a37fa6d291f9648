"""What is done for a peer only as long as the peer is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive


@asynccontextmanager
async def while_there(receive: Receive, gone: str) -> AsyncIterator[None]:
    """What is done within ends, without an error, when the peer hangs up (a message of the type `gone`)."""
    there = asyncio.timeout(None)

    async def hear() -> None:
        while (await receive())["type"] != gone:
            pass
        there.reschedule(0.0)  # a time that has passed: what waits within is cancelled

    hearing = asyncio.create_task(hear())
    try:
        async with there:
            yield
    except TimeoutError:
        if not there.expired():
            raise
    finally:
        hearing.cancel()
