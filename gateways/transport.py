"""What a gateway asks of the network: a slice of POSTs in, one result each, by a deadline.

Guarantee: a result says how much is known. Only `NotSent` may be repeated without a second thought; after `NoAnswer`
the provider may have acted. A transport never retries, never follows a redirect and never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

Header = tuple[bytes, bytes]
"""Lower-case name and value, as they go over the wire."""

NO_HEADERS: Mapping[str, str] = {}


class Request(msgspec.Struct, frozen=True):
    """One POST. headers: those of this request alone; what a slice or a connection shares is given there."""

    path: bytes
    body: bytes
    headers: tuple[Header, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The provider answered.

    headers: lower-case names; not read for a 200 over HTTP/2, where no provider says anything of interest in them.
    complete: False when the status came but the body was cut off (deadline, reset, too long).
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS
    complete: bool = True


class NotSent(msgspec.Struct, frozen=True):
    """The provider has certainly not processed the request."""

    code: str
    detail: str = ""


class NoAnswer(msgspec.Struct, frozen=True):
    """The request left; whether it was processed is not known."""

    code: str
    detail: str = ""


Result = Answer | NotSent | NoAnswer


class Transport(Protocol):
    """One provider's connections: the bulkhead between it and the other channels."""

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        """One result per request, in order, within `deadline_s` whatever the peer does. Never raises for the peer.

        headers: shared by all requests of the slice.
        """
        ...

    def set_header(self, name: bytes, value: bytes) -> None:
        """Change or add a header that every request carries (a new token); requests already sent keep the old."""
        ...

    async def aclose(self) -> None: ...
