"""Given what happened, when something is asked of an aggregate, then events or an error follow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.aggregate import Aggregate, Event
from tests.memory.clock import START


def at(seconds: float = 0) -> datetime:
    return START + timedelta(seconds=seconds)


class Story[A: Aggregate]:
    """An aggregate whose past events are collected; `when` acts on it, `then...` judges what came of it."""

    def __init__(self, aggregate: A) -> None:
        self.aggregate = aggregate
        self.past: list[Event] = list(aggregate.collect_events())  # type: ignore[arg-type]
        self._act: Callable[[A], object] = lambda aggregate: None

    def and_then(self, act: Callable[[A], object]) -> Story[A]:
        """Something else that happened before."""
        act(self.aggregate)
        self.past += self.aggregate.collect_events()  # type: ignore[arg-type]
        return self

    def when(self, act: Callable[[A], object]) -> Story[A]:
        self._act = act
        return self

    def then(self, kind: type[Event], **fields: Any) -> None:
        """One event of this kind with these fields, and replaying all events gives the same state."""
        self._act(self.aggregate)
        [event] = self.aggregate.collect_events()
        assert type(event) is kind
        assert {name: getattr(event, name) for name in fields} == fields
        self.past.append(event)
        self._assert_replayed()

    def then_nothing(self) -> None:
        before = dict(vars(self.aggregate))
        self._act(self.aggregate)
        assert list(self.aggregate.collect_events()) == []
        assert vars(self.aggregate) == before

    def then_refused(self, error: type[Exception]) -> None:
        with pytest.raises(error):
            self._act(self.aggregate)
        assert list(self.aggregate.collect_events()) == []

    def _assert_replayed(self) -> None:
        replayed: Any = None
        for event in self.past:
            replayed = event.mutate(replayed)
        assert vars(replayed) == vars(self.aggregate)


def given[A: Aggregate](aggregate: A) -> Story[A]:
    return Story(aggregate)
