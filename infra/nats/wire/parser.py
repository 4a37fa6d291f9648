"""Reads the bytes that a NATS server sends: messages go to their routes at once, everything else to nats-py.

Messages are handed on whole and in the order they came in, however the bytes were cut into pieces. Nothing is
awaited: one piece may bring hundreds of acknowledgements, and each has its caller's answer when it is read.
"""

from __future__ import annotations

from collections.abc import Callable

from nats.errors import ProtocolError

from infra.nats.wire.frames import Frame

Route = Callable[[Frame], None]

LINE_BYTES_MAX = 1 << 16
"""A longer line is none: the longest is INFO, which names all servers of a cluster."""

MESSAGE_BYTES_MAX = 65 << 20
"""More than any server passes on (its `max_payload` ends at 64 MiB), so that a broken size can't fill the memory."""

_END = b"\r\n"
_new = tuple.__new__


class FrameReader:
    """routes: by subscription id, as the wire has it. others: takes whole lines, and messages without a route."""

    def __init__(self, routes: dict[bytes, Route], others: Callable[[bytes], None]) -> None:
        self._routes, self._others = routes, others
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Read on. Raises ProtocolError for what is no message; nothing can be read after that."""
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return  # pieces of one long message are joined once, when all are there
            data = b"".join(self._pieces)
            self._pieces.clear()
        read = self._read(data)
        if read < len(data):
            self._pieces.append(data[read:])

    def _read(self, data: bytes) -> int:
        """How far whole messages and lines go; sets how much is missing of the next."""
        # Hot path: every acknowledgement, every followed event. All in one loop; a call for each would cost as much.
        routes, find = self._routes, data.find
        start, size = 0, len(data)
        self._missing = 0
        while (end := find(_END, start)) >= 0:
            words = data[start:end].split()
            kind = words[0] if words else b""
            body = end + 2
            if kind == b"MSG":
                least, head = 4, 0
            elif kind == b"HMSG" and len(words) > 1:
                least, head = 5, _number(words[-2])
            else:
                self._others(data[start:body])
                start = body
                continue
            total = _number(words[-1])
            if not (least <= len(words) <= least + 1 and head <= total):
                raise ProtocolError("nats: malformed message")
            following = body + total + 2
            if following > size:
                self._missing = following - size
                return start
            route = routes.get(words[2])
            if route is None:
                self._others(data[start:following])
            else:
                reply = words[3] if len(words) > least else b""
                content = body + head
                # Made as its own constructor makes it, but without the call of a Python function.
                route(_new(Frame, (words[1], reply, data[body:content], data[content : following - 2])))
            start = following
        if size - start > LINE_BYTES_MAX:
            raise ProtocolError("nats: a line without an end")
        return start


def _number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 9 or (number := int(word)) > MESSAGE_BYTES_MAX:
        raise ProtocolError("nats: malformed message")
    return number
