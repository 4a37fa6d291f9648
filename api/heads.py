"""Heads of requests: the plain ones read at once, and those that come again known.

Owns which heads are plain, and which are remembered. A plain head says what nobody can take for anything else: by a
grammar narrower than that of HTTP/1.1 (RFC 9112, sections 3 and 5), and nothing about how the connection goes on or how
its body is sent but a length. All others are left to uvicorn's parser, which would read these as well, with the same
result (a test holds both side by side), and takes several times as long. What follows from the bytes of a head alone
is worked out once: how it reads, which endpoint it means, whose its token is. Whoever keeps what may end, such as a
token's worth, asks each time whether it has. Never writes a head anywhere: there are tokens in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import httptools
from starlette.types import Scope

from domain.number import whole_number

HEAD: Final = "msgxc.head"
"""Scope key: the request's Head."""
BY_NAME: Final = "msgxc.headers"
"""Scope key: its header fields by name."""

HEADS_MAX: Final = 4_096
"""Remembered at a time: callers that stay, each with several lengths of bodies."""
HEAD_BYTES_MAX: Final = 2_048
"""Of one that is remembered: 8 MB for all, and three times that for what is made of them. A token has 200 to 1,000."""
ONCE_MAX: Final = 16_384
"""Heads that came once, known by a hash alone: most never come again, as each new device's."""
URLS_MAX, URL_BYTES_MAX = 1_000, 256
"""Addresses remembered, as they come in requests, and how long those are."""

_REQUEST_LINE = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*+) HTTP/1\.1\r\n"
)
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)*+\r\n")
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"})
_STAYS: Final = b"keep-alive"
_FORWARDED: Final = (b"x-forwarded-for", b"x-forwarded-proto")


class Head:
    """A head that was read. Nothing of it is ever changed.

    by_name: its fields. known: what others have worked out from it, by whoever did.
    """

    __slots__ = ("by_name", "known")

    def __init__(self, by_name: Mapping[bytes, bytes]) -> None:
        self.by_name = by_name
        self.known: dict[object, Any] = {}


class Plain:
    """A plain head. scope: what it says of its request, as ASGI has it. length: of the body. forwarded: by a proxy."""

    __slots__ = ("forwarded", "length", "scope")

    def __init__(self, scope: dict[str, Any], length: int, *, forwarded: bool) -> None:
        self.scope, self.length, self.forwarded = scope, length, forwarded


class Heads:
    """Of one server. Heads are given as they came, with the empty line at their end."""

    def __init__(self, root_path: str) -> None:
        self._root_path, self._raw_root = root_path, root_path.encode("ascii")
        self._kept: dict[bytes, Plain] = {}
        self._once: set[int] = set()
        self.known = self._kept.get

    def read(self, raw: bytes) -> Plain | None:
        """None for one that is not plain."""
        line = _REQUEST_LINE.match(raw)
        if line is None or _FIELDS.fullmatch(raw, line.end()) is None or b" \r\n" in raw or b"\t\r\n" in raw:
            return None
        fields = []
        for field in raw[line.end() : -4].split(b"\r\n") if len(raw) > line.end() + 2 else ():
            name, _, value = field.partition(b":")
            fields.append((name.lower(), value.lstrip(b" \t")))
        by_name = dict(fields)
        length = whole_number(by_name.get(b"content-length", b"0"))
        if length is None or len(by_name) < len(fields) or not _NOT_PLAIN.isdisjoint(by_name):
            return None
        if by_name.get(b"connection", _STAYS).lower() != _STAYS:
            return None
        method, url = line.groups()
        try:
            path, raw_path, query = address_of(url)
        except httptools.HttpParserError:
            return None
        scope = {
            "http_version": "1.1",
            "method": method.decode("ascii"),
            "path": self._root_path + path,
            "raw_path": self._raw_root + raw_path,
            "query_string": query,
            "headers": fields,
            BY_NAME: by_name,
            HEAD: Head(by_name),
        }
        plain = Plain(scope, length, forwarded=is_forwarded(by_name))
        if len(raw) <= HEAD_BYTES_MAX:
            self._keep(raw, plain)
        return plain

    def _keep(self, raw: bytes, plain: Plain) -> None:
        """If it has come before. The one kept first is forgotten first."""
        hashed = hash(raw)
        if hashed not in self._once:
            if len(self._once) >= ONCE_MAX:
                self._once.clear()
            self._once.add(hashed)
            return
        if len(self._kept) >= HEADS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[raw] = plain


def head_of(scope: Scope) -> Head:
    """The request's; made of the scope where the server is not ours."""
    head: Head | None = scope.get(HEAD)
    if head is None:
        by_name = scope[BY_NAME] = dict(scope["headers"])
        head = scope[HEAD] = Head(by_name)
    return head


def is_forwarded(by_name: Mapping[bytes, bytes]) -> bool:
    """Whether a proxy says whose the request is."""
    return _FORWARDED[0] in by_name or _FORWARDED[1] in by_name


def address_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, the path as it came, query. Raises httptools' errors."""
    return _known_address(url) if len(url) <= URL_BYTES_MAX else _parsed(url)


def _parsed(url: bytes) -> tuple[str, bytes, bytes]:
    parsed = httptools.parse_url(url)
    raw_path: bytes = parsed.path
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, parsed.query or b""


_known_address = lru_cache(URLS_MAX)(_parsed)
"""Hot path: most requests are for the address of one before."""
