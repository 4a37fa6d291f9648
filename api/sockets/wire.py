"""The bytes of a frame, for web sockets and for server-sent events. Encoded once, however many get it."""

from __future__ import annotations

import enum
import hashlib
import re
import struct
from collections.abc import Iterable
from typing import Any

import msgspec

from domain.errors import Invalid

_TEXT = 0x81
"""FIN and the text opcode (RFC 6455, section 5.2); a server does not mask."""
_POSITION = re.compile(r"(?P<position>\d{16})\.(?P<epoch>[0-9a-f]{8})")


class Encoding(enum.Enum):
    """How a follower's connection wants its frames."""

    SOCKET = "socket"
    STREAM = "stream"


class _Identified(msgspec.Struct):
    mid: str = ""


_decode = msgspec.json.Decoder(_Identified).decode
_encode = msgspec.json.Encoder().encode


class Positions:
    """Positions of one log as clients see them: text without meaning but for its order."""

    def __init__(self, epoch: str) -> None:
        self._mark = hashlib.sha256(epoch.encode()).hexdigest()[:8]

    def give(self, position: int) -> str:
        return f"{position:016d}.{self._mark}"

    def take(self, text: Any) -> int:
        """Raises Invalid for what is no position, or one of another log."""
        found = _POSITION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise Invalid("send back the position of the last frame you got", field="position")
        if found["epoch"] != self._mark:
            raise Invalid("this position belongs to another log; subscribe anew", field="position")
        return int(found["position"])


class Frame:
    """One frame of FEED, with its position inside. mid: the message it shows, "" if it shows none."""

    __slots__ = ("_encoded", "json", "mid", "position", "subject", "token")

    def __init__(self, position: int, subject: str, data: bytes, token: str) -> None:
        self.position, self.subject, self.token = position, subject, token
        self.mid = _mid(data)
        self.json = b'{"position":"' + token.encode() + b'",' + data.lstrip()[1:]
        self._encoded: dict[Encoding, bytes] = {}

    def encoded(self, encoding: Encoding) -> bytes:
        known = self._encoded.get(encoding)
        if known is None:
            known = text_frame(self.json) if encoding is Encoding.SOCKET else event(self.json, self.token)
            self._encoded[encoding] = known
        return known


def joined(frames: Iterable[Frame], encoding: Encoding) -> bytes:
    return b"".join(frame.encoded(encoding) for frame in frames)


def text_frame(payload: bytes) -> bytes:
    """A whole text frame of a web socket."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", _TEXT, 126, size) + payload
    return struct.pack(">BBQ", _TEXT, 127, size) + payload


def event(payload: bytes, token: str) -> bytes:
    """A server-sent event; our JSON has no line breaks."""
    return b"id: " + token.encode() + b"\ndata: " + payload + b"\n\n"


def reply(value: Any) -> bytes:
    return text_frame(_encode(value))


def _mid(data: bytes) -> str:
    try:
        return _decode(data).mid
    except msgspec.DecodeError:
        return ""
