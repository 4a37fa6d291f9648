"""Heads of requests that come again: a caller that stays sends the same head with each call, byte for byte.

Owns which heads are remembered, and how many. What follows from the bytes of a head alone is so worked out once: how it
parses, which endpoint it means, whose its token is. Whoever keeps what may end, such as a token's worth, asks each time
whether it has ended. Never writes a head anywhere: there are tokens in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Scope

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


class Head:
    """A head that was read. Nothing of it is ever changed.

    by_name: its fields. known: what others have worked out from it, by whoever did.
    """

    __slots__ = ("by_name", "known")

    def __init__(self, by_name: Mapping[bytes, bytes]) -> None:
        self.by_name = by_name
        self.known: dict[object, Any] = {}


class Remembered:
    """scope: what ASGI says of a request by its head. length: of the body. forwarded: whether it names a proxy."""

    __slots__ = ("forwarded", "length", "scope")

    def __init__(self, scope: dict[str, Any], length: int, *, forwarded: bool) -> None:
        self.scope, self.length, self.forwarded = scope, length, forwarded


class Heads:
    """Of one server. `find` and `keep` take the head as it came, up to its empty line."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Remembered] = {}
        self._once: set[int] = set()
        self.find = self._kept.get

    def is_worth_it(self, raw: bytes) -> bool:
        """Whether to keep it: it has come before."""
        if len(raw) > HEAD_BYTES_MAX:
            return False
        hashed = hash(raw)
        if hashed in self._once:
            return True
        if len(self._once) >= ONCE_MAX:
            self._once.clear()
        self._once.add(hashed)
        return False

    def keep(self, raw: bytes, remembered: Remembered) -> None:
        """The one kept first is forgotten first."""
        if len(self._kept) >= HEADS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[raw] = remembered


def head_of(scope: Scope) -> Head:
    """The request's; made of the scope where the server is not ours."""
    head: Head | None = scope.get(HEAD)
    if head is None:
        by_name = scope[BY_NAME] = dict(scope["headers"])
        head = scope[HEAD] = Head(by_name)
    return head
