"""Cells and keys in CQL's binary form, straight from their stored form.

Owns the bytes of bound values (native protocol v5, section 6). The driver's own binding looks every value up again;
this packs whole columns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.readstore.cells import Stored
from projections.port import ColumnType

_LONG, _DOUBLE, _INT, _SHORT = (struct.Struct(form) for form in (">q", ">d", ">i", ">H"))

_PACKERS: Mapping[ColumnType, Callable[[Any], bytes]] = {
    "uuid": bytes,
    "text": str.encode,
    "bigint": _LONG.pack,
    "double": _DOUBLE.pack,
    "boolean": lambda value: b"\x01" if value else b"\x00",
    "timestamp": _LONG.pack,
    "blob": bytes,
    "json": str.encode,
}

long_ = _LONG.pack


def column(kind: ColumnType, values: Sequence[Stored]) -> list[bytes | None]:
    pack = _PACKERS[kind]
    if None in values:
        return [None if value is None else pack(value) for value in values]
    return list(map(pack, values))


def values(kinds: Sequence[ColumnType], stored: Sequence[Stored]) -> list[bytes]:
    """Values of a key, so none is missing."""
    return [_PACKERS[kind](value) for kind, value in zip(kinds, stored, strict=True)]


def routing_keys(parts: Sequence[Sequence[bytes | None]]) -> list[bytes]:
    """Partition keys as the partitioner hashes them, from columns of their parts; no part is missing."""
    if len(parts) == 1:
        return [part or b"" for part in parts[0]]
    pack = _SHORT.pack
    return [
        b"".join([pack(len(part)) + part + b"\x00" for part in key if part is not None])
        for key in zip(*parts, strict=True)
    ]


def tuples(rows: Sequence[Sequence[bytes]]) -> bytes:
    """A list of tuples, for `(a, b) IN ?`."""
    packed = [b"".join([_INT.pack(len(part)) + part for part in row]) for row in rows]
    return _INT.pack(len(packed)) + b"".join([_INT.pack(len(one)) + one for one in packed])


def int_(value: int) -> bytes:
    return _INT.pack(value)
