"""How contacts' resolution went, for /metrics: what became of changes, and how long after them.

Labels are outcomes alone; never a merchant, a contact or a value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from processes.devices.resolution import End

BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0)
"""From one that is embedded and idle to one that waited for a service for an hour."""


class ResolutionFigures(Collector):
    """`note` is processes.devices.resolution.Noted."""

    def __init__(self) -> None:
        self._ends = dict.fromkeys(End, 0)
        self._within = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def note(self, end: End, seconds: float) -> None:
        self._ends[end] += 1
        if end is End.RESOLVED:
            self._within[bisect_left(BOUNDS_S, seconds)] += 1
            self._sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        ends = CounterMetricFamily(
            "msgxc_resolutions", "Askings for contacts' numbers, by how they ended.", labels=("outcome",)
        )
        for end, count in self._ends.items():
            ends.add_metric((end.value,), count)
        yield ends
        yield HistogramMetricFamily(
            "msgxc_resolution_seconds",
            "From a change to its contact's number on the log.",
            buckets=list(self._buckets()),
            sum_value=self._sum_s,
        )

    def _buckets(self) -> Iterator[tuple[str, float]]:
        total = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._within, strict=True):
            total += count
            yield bound, total
