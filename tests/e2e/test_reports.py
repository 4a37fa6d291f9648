"""What providers report later, through the real exchange: the sandbox posts, signed, to the exchange's own address."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.served import Served, served


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("reports")) as running:
        yield running


def publish(exchange: Served, text: str) -> str:
    answer = exchange.call("POST", "/api/v2/publish", {"tid": "demo", "msg": text}, uid="demo", role="")
    assert answer.status_code == 200, answer.text
    mid: str = answer.headers["location"].rpartition("/")[2]
    exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
    return mid


def found(exchange: Served, channel: str, mid: str) -> list[dict[str, Any]]:
    return [item for item in exchange.arrived(channel) if UUID(item["message_id"]) == UUID(mid)]


def booked(exchange: Served, channel: str, mid: str) -> dict[str, Any]:
    [item] = found(exchange, channel, mid)
    return item


def report(exchange: Served, item: dict[str, Any], event: str, **more: Any) -> None:
    answer = exchange.http.post("/sandbox/receipts", json={"message": item["id"], "event": event, **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == 200, answer.text


def delivery(exchange: Served, mid: str, channel: str) -> dict[str, Any]:
    [row] = [row for row in exchange.deliveries(mid) if row["channel"] == channel]
    return row


def suppressed(exchange: Served) -> dict[str, str]:
    reasons: dict[str, str] = exchange.call("GET", "/api/v2/contacts/demo").json()["suppressed"]
    return reasons


def _is_suppressed(exchange: Served, reasons: dict[str, str]) -> bool:
    return suppressed(exchange) == reasons


@pytest.mark.parametrize(
    ("channel", "event"), [("sms", "delivered"), ("email", "delivered"), ("email", "open")]
)
def test_a_report_shows_in_the_deliveries(exchange: Served, channel: str, event: str) -> None:
    """The books know the message by its id; what the provider reports of it is in its delivery."""
    mid = publish(exchange, f"Reported as {event} by {channel}")
    report(exchange, booked(exchange, channel, mid), event)
    state = {"open": "read"}.get(event, event)
    exchange.until(lambda: delivery(exchange, mid, channel)["state"] == state, 10)


def test_stop_and_start_by_phone(exchange: Served) -> None:
    """STOP suppresses the person's SMS and nothing else; START brings them back."""
    cell = booked(exchange, "sms", publish(exchange, "Before"))["address"]
    reasons: dict[str, dict[str, str]] = {"STOP": {"sms": "STOP"}, "START": {}}
    for text, expected in reasons.items():
        answer = exchange.http.post("/sandbox/replies", json={"cell": cell, "text": text})
        assert answer.json()["status"] == 200, answer.text
        exchange.until(partial(_is_suppressed, exchange, expected), 10)
        mid = publish(exchange, f"After {text}")
        states = {row["channel"]: row["state"] for row in exchange.deliveries(mid)}
        assert (states.get("sms") == "accepted") is (text == "START"), states
        assert states["email"] == "accepted"


def test_a_complaint_ends_the_mails(exchange: Served) -> None:
    """A spam report suppresses the channel; the next message leaves it out and says why."""
    report(exchange, booked(exchange, "email", publish(exchange, "Unwanted")), "spamreport")
    exchange.until(lambda: suppressed(exchange) == {"email": "spamreport"}, 10)
    mid = publish(exchange, "Not by mail")
    assert found(exchange, "email", mid) == []


def test_nobody_else_is_believed(exchange: Served) -> None:
    """A post without the provider's signature is refused, whatever it says."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    for path in ("twilio/status", "twilio/replies", "sendgrid/events"):
        answer = exchange.http.post(
            f"/api/v2/providers/{path}", content="From=%2B15005550009&Body=STOP", headers=form
        )
        assert answer.status_code == 403, answer.text
