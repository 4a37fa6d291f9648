"""The API's own figures, in a registry of their own. Labels are routes and statuses, never ids."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Requests(Collector):
    """Counts and times of requests, in plain numbers: a client library's counters cost several times as much."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], _Route] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        of = self._of.get((method, route))
        if of is None:
            of = self._of[method, route] = _Route()
        of.statuses[status] = of.statuses.get(status, 0) + 1
        of.buckets[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        of.sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        counts = CounterMetricFamily(
            "msgxc_http_requests", "Requests answered.", labels=("method", "route", "status")
        )
        for (method, route), of in self._of.items():
            for status, count in of.statuses.items():
                counts.add_metric((method, route, str(status)), count)
        yield counts
        times = HistogramMetricFamily(
            "msgxc_http_request_seconds",
            "From the request's header to the end of the answer.",
            labels=("method", "route"),
        )
        for key, of in self._of.items():
            times.add_metric(key, of.cumulative(), of.sum_s)
        yield times


class _Route:
    """Requests to one, with one method."""

    __slots__ = ("buckets", "statuses", "sum_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """Pairs of upper bound and count up to it, as Prometheus has them."""
        names = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
        return list(zip(names, accumulate(self.buckets), strict=True))


class Metrics:
    """registry: other parts of the process may add theirs; /metrics shows all of it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.sockets = Gauge(
            "msgxc_sockets_open", "Open sockets and streams.", ("kind",), registry=self.registry
        )
        self.frames = Counter("msgxc_socket_frames", "Frames written to sockets.", registry=self.registry)
        self.cut_off = Counter(
            "msgxc_sockets_cut_off", "Sockets closed by us.", ("reason",), registry=self.registry
        )
        self.gaps = Counter(
            "msgxc_feed_gaps", "Lost live frames, read again from FEED.", registry=self.registry
        )
        self.health = Gauge("msgxc_part_healthy", "1 when a part answers.", ("part",), registry=self.registry)
        self.part_values = Gauge(
            "msgxc_part_value",
            "Figures behind a part's health, lag among them.",
            ("part", "value"),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Prometheus' text form."""
        return generate_latest(self.registry)
