"""nats-py's parser with a short way for messages: no regular expressions, no coroutine for what has a route.

Everything that is not a message (PING, INFO, errors) is left to nats-py. Messages are handed on in the order
they came in, whole, however the bytes were cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from infra.nats.frames import Frame

Route = Callable[[Frame], None]

_END = b"\r\n"


class RoutingParser(Parser):
    """routes: by subscription id; other messages go to the client, as ever."""

    def __init__(self, client: Any, routes: dict[int, Route]) -> None:
        super().__init__(client)
        self._routes = routes

    async def parse(self, data: bytes = b"") -> None:
        buffer = self.buf
        buffer.extend(data)
        if self.state != AWAITING_CONTROL_LINE:  # nats-py is in the middle of one
            await super().parse()
            return
        start = 0
        while (end := buffer.find(_END, start)) >= 0:
            with_headers = buffer.startswith(b"HMSG ", start)
            if not with_headers and not buffer.startswith(b"MSG ", start):
                break
            words = bytes(buffer[start:end]).split()
            body, following = _places(words, end + 2, with_headers=with_headers)
            if len(buffer) < following:
                break
            headers = bytes(buffer[end + 2 : body])
            payload = bytes(buffer[body : following - 2])
            start = following
            reply = words[3] if len(words) == 5 + with_headers else b""
            route = self._routes.get(int(words[2]))
            if route is not None:
                route(Frame(words[1], reply, headers, payload))
                continue
            await self.nc._process_msg(int(words[2]), words[1], reply, payload, headers or None)  # noqa: SLF001
            if self.buf is not buffer:
                return  # the connection was made anew meanwhile
        del buffer[:start]
        if buffer and not _is_begun_message(buffer):
            await super().parse()


def _places(words: list[bytes], start: int, *, with_headers: bool) -> tuple[int, int]:
    """Where a message's body begins, and what follows it. Raises ProtocolError."""
    try:
        total = int(words[-1])
        headers = int(words[-2]) if with_headers else 0
    except (ValueError, IndexError):
        raise ProtocolError("nats: malformed message") from None
    if len(words) - with_headers not in {4, 5} or not words[2].isdigit() or headers > total:
        raise ProtocolError("nats: malformed message")
    return start + headers, start + total + 2


def _is_begun_message(buffer: bytearray) -> bool:
    """More is to come of it: nats-py need not look."""
    return buffer.startswith((b"MSG ", b"HMSG ")) or b"HMSG ".startswith(buffer) or b"MSG ".startswith(buffer)
