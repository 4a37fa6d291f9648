"""How the feeder of this process is doing, for /metrics; of all processes one has it at work."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from processes.feeding.feeder import Feeding


class FeedFigures(Collector):
    def __init__(self, feeding: Feeding) -> None:
        self._feeding = feeding

    def collect(self) -> Iterator[Metric]:
        feeding = self._feeding
        holds = GaugeMetricFamily("msgxc_feeder_at_work", "1 in the one process whose feeder is at work.")
        holds.add_metric((), float(feeding.holds))
        yield holds
        position = GaugeMetricFamily(
            "msgxc_feeder_position",
            "The last position of EVENTS that this process has dealt with for sockets.",
        )
        position.add_metric((), feeding.position)
        yield position
        frames = CounterMetricFamily("msgxc_feeder_frames", "Frames that this process has put on FEED.")
        frames.add_metric((), feeding.frames)
        yield frames
