"""How contacts' resolution went, as /metrics shows it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from infra.figures.resolution import ResolutionFigures
from processes.devices.resolution import End


def test_ends_are_counted_and_resolutions_are_timed() -> None:
    """By outcome; what is asked again or given up is no time of a resolution."""
    figures, registry = ResolutionFigures(), CollectorRegistry()
    registry.register(figures)
    for end, seconds in (
        (End.RESOLVED, 0.02),
        (End.RESOLVED, 0.3),
        (End.RESOLVED, 9_999.0),
        (End.LATER, 4.0),
    ):
        figures.note(end, seconds)
    shown = generate_latest(registry).decode()
    assert 'msgxc_resolutions_total{outcome="resolved"} 3.0' in shown
    assert 'msgxc_resolutions_total{outcome="later"} 1.0' in shown
    assert 'msgxc_resolutions_total{outcome="given-up"} 0.0' in shown
    assert 'msgxc_resolution_seconds_bucket{le="0.025"} 1.0' in shown
    assert 'msgxc_resolution_seconds_bucket{le="0.5"} 2.0' in shown
    assert 'msgxc_resolution_seconds_bucket{le="+Inf"} 3.0' in shown
    assert "msgxc_resolution_seconds_count 3.0" in shown
