"""One message of a shop as merchants' streams show it: encoded once, however many watch.

Owns the form of stream ids, of server-sent events and of socket frames. Never reads the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from api import cursor
from domain.errors import Invalid
from domain.ids import Ids

FIRST = "first"
"""Instead of an id: from the beginning of the archive."""


class StreamIds:
    """The ids of one shop's stream: they fit no other shop and no other log."""

    def __init__(self, ids: Ids, shop: UUID, epoch: str) -> None:
        self._ids, self._query, self._epoch = ids, f"shop:{shop}", epoch

    def give(self, position: int) -> str:
        return cursor.give(self._ids, self._query, position, epoch=self._epoch)

    def take(self, text: str, *, field: str) -> int:
        """Raises Invalid for an id that is not of this stream."""
        if text == FIRST:
            return 0
        return cursor.take(self._ids, text, self._query, int, epoch=self._epoch, field=field)


class _Facts(msgspec.Struct):
    """What filters look at. A body that has no action is an addressed message."""

    action: str | None = None
    session_id: str | None = None
    product_id: int | None = None


_facts = msgspec.json.Decoder(_Facts).decode


class Frame:
    """body: as it was published. previous: the shop's position before this one; 0 where that is not known."""

    def __init__(self, position: int, previous: int, body: bytes, give: Callable[[int], str]) -> None:
        self.position, self.previous, self.body = position, previous, body
        self._give = give

    @cached_property
    def id(self) -> str:
        return self._give(self.position)

    @property
    def facts(self) -> _Facts:
        return self._read[0]

    @property
    def data(self) -> bytes:
        """The body as one line of JSON."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[_Facts, bytes]:
        body, facts = self.body, _Facts()
        with contextlib.suppress(ValueError, RecursionError):
            facts = _facts(body)
            body.decode()
            if b"\n" not in body and b"\r" not in body:
                return facts, body
        return facts, _legible(body)

    @property
    def kind(self) -> str:
        return "message" if self.facts.action is None else "update"

    @cached_property
    def event(self) -> bytes:
        """A server-sent event."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: ".encode() + self.data + b"\n\n"

    @cached_property
    def text(self) -> str:
        """A socket frame: `{"type": "update", "id": ..., "data": {...}}`."""
        head = f'{{"type":"{self.kind}","id":"{self.id}","data":'
        return head + self.data.decode() + "}"


def _legible(body: bytes) -> bytes:
    """What somebody published past us, straight to NATS, as one line of JSON: the same value, or else the text."""
    try:
        return msgspec.json.format(body.decode(), indent=-1).encode()
    except (ValueError, RecursionError):
        return msgspec.json.encode(body.decode("utf-8", "replace"))


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What to show; nothing given shows all."""

    action: (
        Annotated[str, Meta(min_length=1, max_length=64, description="Only this action, such as ADD.")] | None
    ) = None
    session: Annotated[UUID | None, Meta(description="Only this shopper session.")] = None
    product: Annotated[int | None, Meta(description="Only this product_id.")] = None

    def shows(self, frame: Frame) -> bool:
        facts = frame.facts
        return (
            (self.action is None or facts.action == self.action)
            and (self.session is None or facts.session_id == str(self.session))
            and (self.product is None or facts.product_id == self.product)
        )


def position_within(position: int, head: int, *, field: str) -> int:
    """Raises Invalid for a position that the log does not reach: it has lost its tail, or the id is made up."""
    if not 0 <= position <= head:
        raise Invalid("the archive ends before this; leave it out to start from now", field=field)
    return position
