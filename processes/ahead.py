"""Working on one item while the next is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator


async def ahead[T](items: AsyncIterator[T]) -> AsyncGenerator[T]:
    """The items, none of them None, in order; the next one is fetched while the caller works on this one."""
    coming = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
