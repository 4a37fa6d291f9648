"""Working on one item while the next is on its way, where more are known to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable


async def ahead[T](items: AsyncGenerator[T], more: Callable[[T], bool]) -> AsyncGenerator[T]:
    """The items, none of them None, in order; `items` is closed at the end.

    more: whether another one is likely to be there behind this one: then it is fetched while the caller works on this
    one. Else it is when the caller asks for it, which takes no task and leaves time for it to become a full one.
    """
    coming: asyncio.Future[T | None] | None = None
    try:
        while (item := await (coming or anext(items, None))) is not None:
            coming = asyncio.ensure_future(anext(items, None)) if more(item) else None
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait((coming,))
        await items.aclose()
