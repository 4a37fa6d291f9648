"""Header fields that would be read in two ways: said twice, or saying that the body is not what it looks like.

Owns which of them are refused, for every route. A head that is not odd (api.http.heads) has none of them.
"""

from __future__ import annotations

from typing import Final

from api.http.heads import Head
from domain.errors import MsgxcError

_ONCE: Final = (b"authorization", b"idempotency-key")
"""Two of these are two callers, or two calls: a proxy before us may have believed the other one."""
_ENCODING: Final = b"content-encoding"
_UNCHANGED: Final = frozenset({b"", b"identity"})


class FieldTwice(MsgxcError):
    code, title, status = "field-twice", "A header field is there twice", 400


class UnsupportedEncoding(MsgxcError):
    """Unpacked, a small body may be a large one."""

    code, title, status = "unsupported-encoding", "The body is encoded", 415


def assert_clear(head: Head, *, has_body: bool) -> None:
    """Raises FieldTwice or UnsupportedEncoding. has_body: whether anybody is going to read one."""
    fields: list[tuple[bytes, bytes]] = head.fields
    for once in _ONCE:
        if sum(name == once for name, _ in fields) > 1:
            shown = once.decode().title()
            raise FieldTwice(f"send one {shown}: of two, nobody can say which is meant", field=shown)
    if has_body and any(name == _ENCODING and value.lower() not in _UNCHANGED for name, value in fields):
        raise UnsupportedEncoding(
            "send the body as it is, without Content-Encoding", field="Content-Encoding"
        )
