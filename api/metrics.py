"""The API's own figures, in a registry of their own. Labels are routes and statuses, never ids."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """registry: other parts of the process may add theirs; /metrics shows all of it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.requests = Counter(
            "msgxc_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.latency_s = Histogram(
            "msgxc_http_request_seconds",
            "From the first byte of the request to the last of the answer.",
            ("method", "route"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
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
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        children = self._children.get((method, route, status))
        if children is None:
            children = (
                self.requests.labels(method, route, str(status)),
                self.latency_s.labels(method, route),
            )
            self._children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """Prometheus' text form."""
        return generate_latest(self.registry)
