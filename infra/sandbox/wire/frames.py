"""The words of HTTP/2 (RFC 9113): frame types, flags, error codes, and a header block without state.

Pure; knows no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1

CONNECTION_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
PSEUDO_HEADERS = frozenset({":method", ":scheme", ":path", ":authority"})
STATUS_BLOCKS = {200: b"\x88", 204: b"\x89", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}
"""HPACK's static table has these whole."""


class Frame(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Ending(IntEnum):
    """Error codes, RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Violation(Exception):
    """The client broke the protocol: the whole connection ends with this error."""

    def __init__(self, error: Ending, words: str) -> None:
        super().__init__(words)
        self.error = error


def header_fault(headers: Sequence[tuple[str, str]]) -> str:
    """What is wrong with a request's header list (sections 8.2 and 8.3); "" when nothing is."""
    seen: set[str] = set()
    regular = False
    for name, value in headers:
        if name.startswith(":"):
            if regular or name in seen or name not in PSEUDO_HEADERS:
                return f"pseudo-header {name} is out of place"
            seen.add(name)
        else:
            regular = True
            if not name or name != name.lower() or name in CONNECTION_HEADERS:
                return f"header {name} is not allowed"
        if value != value.strip() or "\r" in value or "\n" in value or "\0" in value:
            return f"header {name} has a broken value"
    missing = {":method", ":scheme", ":path"} - seen
    return f"{min(missing)} is missing" if missing else ""


def header_block(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """An answer's header block in literals that neither side has to remember."""
    parts = [STATUS_BLOCKS.get(status) or b"\x08" + _literal(str(status))]
    for name, value in headers:
        parts += (b"\x00", _literal(name), _literal(value))
    return b"".join(parts)


def unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(Ending.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def _literal(text: str) -> bytes:
    """HPACK's string: its length as a 7-bit prefix integer, no Huffman code."""
    data = text.encode()
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    prefix, size = bytearray(b"\x7f"), size - 127
    while size >= 128:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + data
