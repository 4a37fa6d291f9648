"""The clock of the tests: stands still until it is moved, and tells those who wait for a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)


class ManualClock:
    """Calling it gives now."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> datetime:
        return self.now

    def on_move(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def advance(self, seconds: float) -> None:
        self.move_to(self.now + timedelta(seconds=seconds))

    def move_to(self, at: datetime) -> None:
        assert at >= self.now, "time goes forward"
        self.now = at
        for listener in self._listeners:
            listener()
