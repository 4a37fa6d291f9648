"""Where looks at apps were answered, for /metrics. Plain numbers: a look is made with every call."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Level(StrEnum):
    """OUTDATED: from memory, after its time, since the source did not answer."""

    MEMORY = "memory"
    SHARED = "shared"
    SOURCE = "source"
    OUTDATED = "outdated"


class Lookups(Collector):
    """The hit rate is the share of `memory` (or of `memory` and `shared`) in all levels.

    in_memory: looks that were answered from memory, which nearly all are.
    """

    def __init__(self) -> None:
        self.in_memory = 0
        self._counts = dict.fromkeys(Level, 0)

    def note(self, level: Level) -> None:
        """An answer of another level than memory."""
        self._counts[level] += 1

    def count(self, level: Level) -> int:
        return self.in_memory if level is Level.MEMORY else self._counts[level]

    def collect(self) -> Iterator[Metric]:
        counts = CounterMetricFamily(
            "msgxc_app_lookups", "Looks at apps, by what answered them.", labels=("level",)
        )
        for level in Level:
            counts.add_metric((level.value,), self.count(level))
        yield counts
