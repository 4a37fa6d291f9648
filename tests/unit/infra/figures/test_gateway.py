"""Figures of the gateways: the share of doubted addresses, over the last sends alone, and its alarm."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry
from infra.figures.gateway import CODES_MAX, OTHER, REFUSED_LOGGED_S, SENDS_MAX, SENDS_MIN, GatewayFigures

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


def refused(registry: CollectorRegistry, channel: str, code: str) -> float | None:
    return registry.get_sample_value("msgxc_gateway_refused_total", {"channel": channel, "code": code})


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("apns", "PayloadTooLarge"),
        ("apns", "PayloadEmpty"),
        ("fcm", "INVALID_ARGUMENT"),
        ("webpush", "413"),
        ("sms", "21617"),
        ("email", "400"),
    ],
)
def test_a_message_that_is_refused_for_its_own_sake_raises_an_alarm(channel: str, code: str) -> None:
    """From the first one on: counted by code, and logged without a provider's words."""
    figures, registry = GatewayFigures(), CollectorRegistry()
    registry.register(figures)
    with capture_logs() as logs:
        figures.noting(channel)([WELL, Rejected(code, detail="their words"), Rejected(code)])
    line = {"event": "messages_refused", "log_level": "error", "channel": channel, "code": code, "count": 2}
    assert logs == [line]
    assert refused(registry, channel, code) == 2.0


def test_what_is_the_recipients_raises_none() -> None:
    """An address in doubt, one that is gone, a try to come, a mail server that takes it for spam."""
    with capture_logs() as logs:
        figures = GatewayFigures()
        figures.noting("apns")([DOUBTED, Gone("Unregistered"), Retry("503"), WELL])
        figures.noting("email")([Rejected("554", detail="5.7.1 Spam"), Rejected("550")])
    assert logs == []


def test_a_storm_of_refusals_is_a_line_a_minute() -> None:
    """For each code; the count says how many it stands for."""
    now = [0.0]
    figures, registry = GatewayFigures(lambda: now[0]), CollectorRegistry()
    registry.register(figures)
    note = figures.noting("fcm")
    with capture_logs() as logs:
        for second in range(int(REFUSED_LOGGED_S) + 1):
            now[0] = float(second)
            note([Rejected("INVALID_ARGUMENT")] * 500)
        note([Rejected("NOT_FOUND")])
    assert [(each["code"], each["count"]) for each in logs] == [
        ("INVALID_ARGUMENT", 500),
        ("INVALID_ARGUMENT", 500 * int(REFUSED_LOGGED_S)),
        ("NOT_FOUND", 1),
    ]
    assert refused(registry, "fcm", "INVALID_ARGUMENT") == 500.0 * (REFUSED_LOGGED_S + 1)


def test_codes_are_bounded() -> None:
    """However many a peer makes up, and whatever it writes into them."""
    figures, registry = GatewayFigures(), CollectorRegistry()
    registry.register(figures)
    note = figures.noting("fcm")
    note([Rejected('a "word" of theirs\n')])
    note([Rejected(f"CODE_{n}") for n in range(500)])
    samples = [sample for metric in figures.collect() for sample in metric.samples if "code" in sample.labels]
    assert len(samples) <= CODES_MAX + 1
    assert sum(sample.value for sample in samples) == 501
    found = refused(registry, "fcm", OTHER)
    assert found is not None
    assert found > 400
