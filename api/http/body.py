"""Reading a request's body: bounded in bytes and in time.

Time is watched over all bodies at once, since a timer for each would cost more than reading most of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.types import Receive

from api.access.limits import BODY_BYTES_MAX, assert_body_fits
from api.http.lane import cycle_of
from domain.errors import MsgxcError
from domain.text.number import whole_number

BODY_WAIT_S_MAX = 20.0
"""Until the whole body is there: a caller that dribbles holds a connection no longer."""
BODY_BYTES_PER_S_MIN = 32 << 10
"""A phone's uplink where the network is poor. Bodies that may be large are waited for as long as they take at this."""
LARGE_BODY_WAIT_S_MAX = 64.0
"""All that a phone may have gathered (2 MiB). What is larger comes from servers, which have better networks."""
LOOK_S = 1.0


class ClientGone(Exception):
    """The caller hung up while sending: nobody is left to answer."""


class BodyTooSlow(MsgxcError):
    """Devices send again what is answered so, and drop it at any other 4xx."""

    code, title, status, retryable = "body-too-slow", "The body did not come in time", 408, True


def body_wait_s(bytes_max: int) -> float:
    """How long a whole body of at most so many bytes may take."""
    return max(BODY_WAIT_S_MAX, min(bytes_max / BODY_BYTES_PER_S_MIN, LARGE_BODY_WAIT_S_MAX))


class BodyReader:
    """For the event loop it is first used in. wait_s: how long a whole body may take, to the second.

    passes_over: of a body that is too large, so many bytes more are received and thrown away before that is said. An
    answer to who is still sending is lost with the connection, since most clients read none before they have sent all.
    """

    def __init__(self, *, wait_s: float = BODY_WAIT_S_MAX, passes_over: int = 0) -> None:
        self._wait_s, self._passes_over = wait_s, passes_over
        self._since: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._looking = False

    def at_once(self, headers: Mapping[bytes, bytes], receive: Receive, bytes_max: int) -> bytes | None:
        """Hot path: a body that is here already, which needs no watch on its time; None: `read` it. Raises TooLarge."""
        cycle = cycle_of(receive)
        content = cycle.whole_body() if cycle is not None else None
        if content is None:
            announced = whole_number(headers.get(b"content-length", b""))
            if announced is not None and announced > bytes_max:
                # Who expects to be told sends nothing before.
                is_sending = b"expect" not in headers
                assert_body_fits(announced, bytes_max + self._passes_over * is_sending)
        elif len(content) > bytes_max:
            assert_body_fits(len(content), bytes_max)
        return content

    async def read(
        self, headers: Mapping[bytes, bytes], receive: Receive, *, bytes_max: int = BODY_BYTES_MAX
    ) -> bytes:
        """Raises TooLarge as soon as it is known to be and passed over, BodyTooSlow when it does not come in time,
        ClientGone.
        """
        content = self.at_once(headers, receive, bytes_max)
        if content is not None:
            return content
        task = asyncio.current_task()
        assert task is not None
        self._begin(task)
        body = _Body(bytes_max, self._passes_over)
        try:
            return await body.read(receive)
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            task.uncancel()
            announced = whole_number(headers.get(b"content-length", b"")) or 0
            assert_body_fits(max(body.size, announced), bytes_max)
            raise BodyTooSlow(f"the body did not arrive within {self._wait_s:.0f} s", field="body") from None
        finally:
            self._since.pop(task, None)
            self._overdue.discard(task)

    def _begin(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._since[task] = loop.time()
        if not self._looking:
            self._looking = True
            loop.call_later(min(LOOK_S, self._wait_s), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt those that have waited too long; look again as long as anyone waits."""
        end = loop.time() - self._wait_s
        for task in [task for task, since in self._since.items() if since <= end]:
            del self._since[task]
            self._overdue.add(task)
            task.cancel()
        self._looking = bool(self._since)
        if self._looking:
            loop.call_later(min(LOOK_S, self._wait_s), self._look, loop)


class _Body:
    """One that is being received. size: of what came so far, more of which may have been passed over."""

    def __init__(self, bytes_max: int, passes_over: int) -> None:
        self._bytes_max, self._size_max, self.size = bytes_max, bytes_max + passes_over, 0

    async def read(self, receive: Receive) -> bytes:
        """Raises TooLarge, ClientGone."""
        message = await receive()
        first = _piece(message)
        self.size = len(first)
        if not message.get("more_body"):
            assert_body_fits(self.size, self._bytes_max)
            return first
        pieces = bytearray(first)
        while message.get("more_body"):
            message = await receive()
            piece = _piece(message)
            self.size += len(piece)
            if self.size <= self._bytes_max:
                pieces += piece
            elif self.size <= self._size_max:
                pieces.clear()
            else:
                break
        assert_body_fits(self.size, self._bytes_max)
        return bytes(pieces)


def _piece(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    piece: bytes = message.get("body", b"")
    return piece
