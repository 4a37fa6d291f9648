"""Hanging up on a caller without an answer.

Owns the word and where the application finds it: api.http.lane puts it there. Under another server there is no such
word, and the caller gets an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

EXTENSION: Final = "msgxc.hang_up"
HUNG_UP: Final = 499
"""What the metrics call it, as some proxies do: a connection that was closed before there was an answer."""


async def hang_up(scope: Scope) -> bool:
    """Close the connection at once; whether that could be done."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(EXTENSION)
    if abort is None:
        return False
    abort()
    # uvicorn learns of it in the loop's next turn, and then expects no answer any more.
    await asyncio.sleep(0)
    return True
