"""What the store remembers of aggregates: where their events end, and, for those in use, the aggregates.

Bounded, and never the truth: a save is refused by the log when the memory was behind.
"""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate

HEADS_MAX = 200_000
"""About 60 MB; a save whose head is not here costs one more read."""

AGGREGATES_MAX = 20_000

FRESH_FOR_S = 1.0
"""An aggregate in memory is given out unasked for this long; after it the log is asked for newer events."""


class Head(msgspec.Struct, frozen=True):
    """An aggregate's last event: version, position, digest."""

    version: int
    sequence: int
    digest: str


NOTHING = Head(0, 0, "")


class _Hot(NamedTuple):
    aggregate: Aggregate
    head: Head
    seen_at: float


class Memory:
    """Heads and aggregates by id. Aggregates go in and out as copies."""

    def __init__(self) -> None:
        self._heads: OrderedDict[UUID, Head] = OrderedDict()
        self._hot: OrderedDict[UUID, _Hot] = OrderedDict()

    def head(self, id: UUID) -> Head | None:
        return self._heads.get(id)

    def saved(self, aggregate: Aggregate, head: Head) -> None:
        """An aggregate's events were appended; what is known of it here is kept up to date.

        Of one that has just begun nothing is: who begins an aggregate seldom goes on with it, and loads it first.
        """
        id = aggregate.id
        if id in self._heads:
            self._set_head(id, head)
        if id in self._hot:
            self._hot[id] = _Hot(copy_of(aggregate), head, time.monotonic())

    def loaded(self, aggregate: Aggregate, head: Head) -> None:
        self._set_head(aggregate.id, head)
        self._hot[aggregate.id] = _Hot(copy_of(aggregate), head, time.monotonic())
        self._hot.move_to_end(aggregate.id)
        if len(self._hot) > AGGREGATES_MAX:
            self._hot.popitem(last=False)

    def recall(self, id: UUID) -> tuple[Aggregate, Head, bool] | None:
        """A copy, the head it stands at, and whether it is new enough to be used unasked."""
        hot = self._hot.get(id)
        if hot is None:
            return None
        self._hot.move_to_end(id)
        fresh = time.monotonic() - hot.seen_at < FRESH_FOR_S
        return copy_of(hot.aggregate), hot.head, fresh

    def forget(self, id: UUID) -> None:
        self._heads.pop(id, None)
        self._hot.pop(id, None)

    def forget_aggregates(self) -> None:
        """A key was destroyed: nothing that it sealed may stay readable here."""
        self._hot.clear()

    def _set_head(self, id: UUID, head: Head) -> None:
        known = self._heads.get(id)
        if known is None or known.sequence <= head.sequence:
            self._heads[id] = head
            self._heads.move_to_end(id)
        if len(self._heads) > HEADS_MAX:
            self._heads.popitem(last=False)


def copy_of[A: Aggregate](aggregate: A) -> A:
    """An independent copy: containers are copied, all else in an aggregate is immutable."""
    twin = object.__new__(type(aggregate))
    vars(twin).update(
        {
            name: copy.deepcopy(value) if isinstance(value, dict | list | set) else value
            for name, value in vars(aggregate).items()
        }
    )
    return twin
