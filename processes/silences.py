"""Telling whoever reads batches that nothing more is coming at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator


async def or_silence[T](items: AsyncIterator[T], *, after_s: float) -> AsyncGenerator[T | None]:
    """The items, none of them None, in order; None once where the next one takes longer than `after_s`.

    The next item is asked for when the caller asks for it, not before.
    """
    coming: asyncio.Future[T | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(items, None))
            done, _ = await asyncio.wait((coming,), timeout=after_s)
            if not done:
                yield None
            if (item := await coming) is None:
                return
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait((coming,))
