"""HPACK (RFC 7541): our requests' headers, and the peer's answers.

Requests: what every request carries is put once into the peer's table and afterwards costs a byte or two each.
Answers: we announce a table of size 0, so every block stands for itself and one that nobody reads stays undecoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpack import Decoder, HPACKError

from gateways.http2.frames import COMPRESSION_ERROR, STATUS_200, ConnectionFault
from gateways.transport import NO_HEADERS, Header

TABLE_BYTES_DEFAULT = 4_096
"""The table a peer has before it says otherwise. More is never asked of it: ours are a few hundred bytes."""
ENTRY_OVERHEAD_BYTES = 32
"""What each entry counts beyond its name and value (RFC 7541, 4.1)."""
HEADER_LIST_BYTES_MAX = 32_768
"""Decoded headers of one answer; a block that unpacks to more is an attack."""

_STATIC_NAMES = {
    b":authority": 1,
    b"accept": 19,
    b"authorization": 23,
    b"content-encoding": 26,
    b"content-length": 28,
    b"content-type": 31,
    b"user-agent": 58,
}
_FIRST_DYNAMIC = 62
_METHOD_POST_SCHEME_HTTPS = b"\x83\x87"
_INDEXED, _LITERAL_INDEXED, _LITERAL, _NEVER_INDEXED, _RESIZE = 0x80, 0x40, 0x00, 0x10, 0x20


def integer(value: int, prefix_bits: int, first: int) -> bytes:
    """An integer with a prefix of so many bits (RFC 7541, 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = tuple(bytes((n,)) for n in range(127))


def string(value: bytes) -> bytes:
    """A string as it is; Huffman coding would cost more time than it saves bytes."""
    size = len(value)
    return (_SHORT[size] if size < 127 else integer(size, 7, 0)) + value


def _field(name: bytes, value: bytes, form: int, prefix_bits: int) -> bytes:
    index = _STATIC_NAMES.get(name, 0)
    return integer(index, prefix_bits, form) + (b"" if index else string(name)) + string(value)


_LITERAL_NAMES: dict[bytes, bytes] = {}
_LITERAL_NAMES_MAX = 256
"""Gateways use a dozen names; the bound only keeps a mistake from growing it."""


def literals(headers: Iterable[Header]) -> bytes:
    """Headers that the peer is not to remember, since the next request has others."""
    out = b""
    for name, value in headers:
        prefix = _LITERAL_NAMES.get(name)
        if prefix is None:
            prefix = _field(name, b"", _LITERAL, 4)[:-1]
            if len(_LITERAL_NAMES) < _LITERAL_NAMES_MAX:
                _LITERAL_NAMES[name] = prefix
        size = len(value)
        out += prefix + (_SHORT[size] if size < 127 else integer(size, 7, 0)) + value
    return out


class RequestHeaders:
    """The header blocks of one connection. A block, once made, must be sent, and in order: the peer counts them.

    A new value of a constant header enters all constants anew, so that the newest entries of the peer's table are
    always ours and their indexes never change; older ones fall out of the table by themselves.
    """

    def __init__(self, authority: bytes, constants: Sequence[Header]) -> None:
        self._authority = authority
        self._table_bytes = TABLE_BYTES_DEFAULT
        self._resize_due = False
        self.set_constants(constants)

    def set_constants(self, constants: Sequence[Header]) -> None:
        self._constants = tuple(constants)
        self._entered = False

    def limit_table(self, size_bytes: int) -> None:
        """The peer's table got smaller: say so in the next block and start over. Larger ones are not used."""
        if size_bytes < self._table_bytes:
            self._table_bytes, self._resize_due, self._entered = size_bytes, True, False

    def block(self, path: bytes, rest: bytes) -> bytes:
        """The header block of a POST. rest: further headers, already encoded by `literals`."""
        if not self._entered:
            return self._first_block(path, rest)
        return self._before_path + string(path) + self._after_path + rest

    def _first_block(self, path: bytes, rest: bytes) -> bytes:
        fields = [(b":authority", self._authority), *self._constants]
        entered = _fitting(fields, self._table_bytes)
        newest = _FIRST_DYNAMIC + sum(entered) - 1
        first, later, rank = [], [], 0
        for (name, value), enters in zip(fields, entered, strict=True):
            if enters:
                first.append(_field(name, value, _LITERAL_INDEXED, 6))
                later.append(integer(newest - rank, 7, _INDEXED))
                rank += 1
            else:
                first.append(_field(name, value, _NEVER_INDEXED, 4))
                later.append(first[-1])
        resize = integer(self._table_bytes, 5, _RESIZE) if self._resize_due else b""
        self._before_path = _METHOD_POST_SCHEME_HTTPS + later[0] + b"\x04"
        self._after_path = b"".join(later[1:])
        self._entered, self._resize_due = True, False
        head = resize + _METHOD_POST_SCHEME_HTTPS + first[0] + b"\x04" + string(path)
        return head + b"".join(first[1:]) + rest


def _fitting(fields: Sequence[Header], table_bytes: int) -> list[bool]:
    """Which fields the table has room for, all at once."""
    fits, used = [], 0
    for name, value in fields:
        size = len(name) + len(value) + ENTRY_OVERHEAD_BYTES
        fits.append(used + size <= table_bytes)
        used += size if fits[-1] else 0
    return fits


class AnswerHeaders:
    """Reads the header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder: Any = Decoder(max_header_list_size=HEADER_LIST_BYTES_MAX)
        self._decoder.header_table_size = 0
        self._decoder.max_allowed_table_size = 0

    def read(self, block: bytes) -> tuple[int, Mapping[str, str]]:
        """Status (0 when there is none: trailers) and the other headers, none for a 200. Raises ConnectionFault."""
        if block and block[0] == STATUS_200:
            return 200, NO_HEADERS
        try:
            decoded = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"headers that cannot be decoded: {error}") from None
        status, headers = 0, dict[str, str]()
        for name, value in decoded:
            if name == b":status":
                status = int(value) if len(value) == 3 and value.isdigit() else -1
            else:
                headers[name.decode("latin-1")] = value.decode("latin-1")
        return status, NO_HEADERS if status == 200 else headers  # the same, whichever way it was written
