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
from typing import Any, Final
from urllib.parse import unquote

import httptools
from starlette.types import Scope

from api.http.bounded import HEAD_BYTES_MAX
from domain.text.number import whole_number

HEAD: Final = "msgxc.head"
"""Scope key: the request's Head."""
BY_NAME: Final = "msgxc.headers"
"""Scope key: its header fields by name."""

HEADS_MAX: Final = 4_096
"""Remembered at a time: callers that stay, each with several lengths of bodies."""
KEPT_BYTES_MAX: Final = 2_048
"""Of one that is remembered: 8 MB for all, and five times that for what is made of them. A token has 200 to 1,000."""
FIELDS_MAX: Final = 40
"""Of one that is remembered: hundreds of short ones take thirty times what they came in. Browsers' have 25 at most."""
ONCE_MAX: Final = 16_384
"""Heads that came once, known by a hash alone: most never come again, as each new device's."""
TARGETS_MAX, URL_BYTES_MAX = 1_000, 256
"""Addresses remembered, as they come in requests, and how long those are; first lines of requests likewise."""
NAMES_MAX, NAME_BYTES_MAX = 1_000, 64
"""Names of fields remembered, and how long those are: several times what all contracts have, in all letters' cases."""

_REQUEST_LINE = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*+) HTTP/1\.1"
)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FIELD_BYTES: Final = bytes(byte if byte == 0x09 or 0x20 <= byte != 0x7F else 0x20 for byte in range(256))
"""What a field's value may hold (RFC 9110, section 5.5) stays as it is, and all else, zero bytes too, is a blank."""
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"})


class Target:
    """Method and address of requests. known: what others have worked out from them, by whoever did. scope: what they
    say of a request, as ASGI has it.
    """

    __slots__ = ("known", "method", "path", "query", "raw_path", "scope")

    def __init__(self, method: str, path: str, raw_path: bytes, query: bytes) -> None:
        self.method, self.path, self.raw_path, self.query = method, path, raw_path, query
        self.known: dict[object, Any] = {}
        self.scope = {
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
        }


class Head:
    """A head that was read. Nothing of it is ever changed.

    by_name: its fields. known: as a target's, from the whole of it. length: of the body. is_forwarded: a proxy says
    whose the request is. is_odd: it has a field twice, or one about how the body is encoded: see api.http.fields.
    """

    __slots__ = ("by_name", "fields", "is_forwarded", "is_odd", "known", "length", "target")

    def __init__(
        self,
        target: Target,
        fields: list[tuple[bytes, bytes]],
        *,
        length: int = 0,
        by_name: dict[bytes, bytes] | None = None,
    ) -> None:
        """by_name: the fields, if they are known to have a name each."""
        self.target, self.fields, self.length = target, fields, length
        self.by_name = by_name = by_name or dict(fields)
        self.is_forwarded = b"x-forwarded-for" in by_name or b"x-forwarded-proto" in by_name
        self.is_odd = len(by_name) < len(fields) or b"content-encoding" in by_name
        self.known: dict[object, Any] = {}

    def fill(self, scope: dict[str, Any]) -> None:
        """Have the request's scope say what the head says, as ASGI has it, and which head that was."""
        scope.update(self.target.scope)
        scope["headers"], scope[BY_NAME], scope[HEAD] = self.fields, self.by_name, self


class Heads:
    """Of one server. Heads are given as they came, with the empty line at their end."""

    def __init__(self, root_path: str) -> None:
        self._root_path, self._raw_root = root_path, root_path.encode("ascii")
        self._kept: dict[bytes, Head] = {}
        self._once: set[int] = set()
        self._targets: dict[tuple[bytes, bytes], Target] = {}
        self._meant: dict[bytes, Target] = {}
        self._names: dict[bytes, bytes] = {}
        self.known = self._kept.get

    def read(self, raw: bytes) -> Head | None:
        """None for one that is not plain, and for one so long that somebody has to count."""
        if len(raw) > HEAD_BYTES_MAX or not raw.endswith(b"\r\n\r\n"):
            return None
        first, *lines = raw[:-4].split(b"\r\n")
        try:
            target = self._meant.get(first) or self._read_line(first)
        except httptools.HttpParserError:
            return None
        if target is None:
            return None
        # Hot path: what each byte may be, for all fields together (a regular expression takes twice as long); a line's
        # end anywhere but between them is none of that.
        text = b"".join(lines)
        if text.translate(FIELD_BYTES) != text:
            return None
        by_name: dict[bytes, bytes] = {}
        names = self._names
        for field in lines:
            name, colon, value = field.partition(b":")
            lower = names.get(name) or self._name(name)
            if not lower or not colon:
                return None
            by_name[lower] = value.lstrip(b" \t")
        length = whole_number(by_name.get(b"content-length", b"0"))
        if length is None or len(by_name) < len(lines) or not _NOT_PLAIN.isdisjoint(by_name):
            return None
        if b"connection" in by_name and by_name[b"connection"].lower() != b"keep-alive":
            return None
        head = Head(target, list(by_name.items()), length=length, by_name=by_name)
        if len(raw) <= KEPT_BYTES_MAX and len(first) <= URL_BYTES_MAX and len(lines) <= FIELDS_MAX:
            self._keep(raw, head)
        return head

    def target(self, method: bytes, url: bytes) -> Target:
        """Raises httptools' errors. Hot path: most requests are for the address of one before."""
        known = self._targets.get((method, url))
        if known is not None:
            return known
        parsed = httptools.parse_url(url)
        path = parsed.path.decode("ascii")
        path = self._root_path + (unquote(path) if "%" in path else path)
        target = Target(method.decode("ascii"), path, self._raw_root + parsed.path, parsed.query or b"")
        if len(url) <= URL_BYTES_MAX:
            if len(self._targets) >= TARGETS_MAX:
                self._targets.clear()
            self._targets[method, url] = target
        return target

    def _read_line(self, line: bytes) -> Target | None:
        """The first line of a head, without its end; None for one that is not plain. Raises httptools' errors."""
        found = _REQUEST_LINE.fullmatch(line)
        if found is None:
            return None
        target = self.target(found[1], found[2])
        if len(line) <= URL_BYTES_MAX:
            if len(self._meant) >= TARGETS_MAX:
                self._meant.clear()
            self._meant[line] = target
        return target

    def _name(self, name: bytes) -> bytes:
        """In small letters; nothing for what is no name."""
        if _NAME.fullmatch(name) is None:
            return b""
        lower = name.lower()
        if len(name) <= NAME_BYTES_MAX:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            self._names[name] = lower
        return lower

    def _keep(self, raw: bytes, head: Head) -> None:
        """If it has come before. The one kept first is forgotten first."""
        hashed = hash(raw)
        if hashed not in self._once:
            if len(self._once) >= ONCE_MAX:
                self._once.clear()
            self._once.add(hashed)
            return
        if len(self._kept) >= HEADS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[raw] = head


def head_of(scope: Scope) -> Head:
    """The request's; made of the scope where the server is not ours."""
    head: Head | None = scope.get(HEAD)
    if head is None:
        raw_path, query = scope.get("raw_path") or b"", scope.get("query_string", b"")
        target = Target(scope.get("method", ""), scope["path"], raw_path, query)
        head = scope[HEAD] = Head(target, scope["headers"])
        scope[BY_NAME] = head.by_name
    return head
