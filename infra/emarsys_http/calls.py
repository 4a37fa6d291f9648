"""How calls to services ended, for /metrics. Labels are services and outcomes, never what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.emarsys_http.service import Service


class ServiceCalls(Collector):
    """Of all services that the settings name; nothing where they name none."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "msgxc_service_calls", "Calls to services, by how they ended.", labels=("service", "outcome")
        )
        seconds = CounterMetricFamily(
            "msgxc_service_seconds", "Time spent waiting for services.", labels=("service",)
        )
        left_alone = GaugeMetricFamily(
            "msgxc_service_left_alone",
            "1 while a service, or a question to it, is left alone since it failed.",
            labels=("service",),
        )
        for service in self._services:
            for outcome, count in service.outcomes.items():
                calls.add_metric((service.label, outcome), count)
            seconds.add_metric((service.label,), service.waited_s)
            left_alone.add_metric((service.label,), float(service.breaker.is_open))
        yield from (calls, seconds, left_alone)
