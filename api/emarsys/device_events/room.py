"""Room for large bodies: how many bytes of them a process has under way at a time.

A body of two megabytes is some ten in memory while it is read and waits for the stream; some hundred of them at once
would take a gigabyte, and the process its leases. Small ones are not counted: whoever limits their number bounds them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.types import Scope

from api.http.heads import BY_NAME
from domain.text.number import whole_number

BYTES_MAX: Final = 64 << 20
SMALL_BYTES: Final = 64 << 10


class Room:
    """For one process. taken: bytes that large bodies of requests under way have, or may have."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max, self.taken = bytes_max, 0

    def take(self, scope: Scope, body_bytes_max: int) -> bool:
        """Whether there is room for the request's body, of at most so many bytes; it keeps that until its task ends."""
        headers = scope[BY_NAME]
        announced = whole_number(headers.get(b"content-length", b""))
        if announced is None and b"transfer-encoding" not in headers:
            return True  # there is none
        if announced is not None and announced <= SMALL_BYTES:
            return True
        size = body_bytes_max if announced is None else min(announced, body_bytes_max)
        if self.taken + size > self._bytes_max:
            return False
        task = asyncio.current_task()
        assert task is not None
        self.taken += size

        def give_back(_ended: asyncio.Task[Any]) -> None:
            self.taken -= size

        task.add_done_callback(give_back)
        return True
