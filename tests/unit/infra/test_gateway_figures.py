"""Figures of the gateways: the share of doubted addresses, over the last sends alone, and its alarm."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from domain.outcome import Accepted, Outcome, Rejected
from infra.gateway_figures import SENDS_MAX, SENDS_MIN, GatewayFigures

WELL: Outcome = Accepted("id")
DOUBTED: Outcome = Rejected("BadDeviceToken", quarantine=True)


def share(registry: CollectorRegistry, channel: str = "apns") -> float | None:
    return registry.get_sample_value("msgxc_gateway_doubted_share", {"channel": channel})


def test_the_share_is_of_the_last_sends_of_its_channel() -> None:
    """A refused payload doubts no address, other channels count apart, old sends for none; few say naught."""
    figures, registry = GatewayFigures(), CollectorRegistry()
    registry.register(figures)
    apns, fcm = figures.noting("apns"), figures.noting("fcm")
    apns([DOUBTED, Rejected("PayloadTooLarge"), WELL, WELL])
    fcm([WELL] * SENDS_MIN)
    apns([])
    assert (share(registry), share(registry, "fcm"), share(registry, "sms")) == (None, 0.0, None)
    apns([WELL] * (SENDS_MIN - 4))
    assert share(registry) == 1 / SENDS_MIN
    for _ in range(SENDS_MAX // 500):
        apns([WELL] * 500)
    assert share(registry) == 0.0
    said = {"channel": "apns", "outcome": "rejected"}
    assert registry.get_sample_value("msgxc_gateway_outcomes_total", said) == 2.0


def test_too_many_doubts_raise_one_alarm() -> None:
    """Over one per cent of enough sends; once, until it has been well again; a single one of few is chance."""
    with capture_logs() as logs:
        note = GatewayFigures().noting("apns")
        note([DOUBTED])
        assert logs == []
        note([WELL] * (SENDS_MIN - 4))
        note([DOUBTED] * 3)
        note([DOUBTED])
        assert [(each["event"], each["log_level"]) for each in logs] == [("addresses_doubted", "critical")]
        note([WELL] * SENDS_MAX)
        note([DOUBTED] * (SENDS_MAX // 50))
        assert len(logs) == 2
