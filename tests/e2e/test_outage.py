"""What is broken delays nothing else and loses nothing: a provider that hangs or is dead, a log that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.served import Served, served

CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}
TTL_S = 6
PUBLISHERS = 4
KILLS = 3


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def publish(exchange: Served, text: str, **more: Any) -> str:
    body = {"tid": "demo", "msg": text, **more}
    answer = exchange.call("POST", "/api/v2/publish", body, uid="demo", role="")
    assert answer.status_code == 200, answer.text
    mid: str = answer.headers["location"].rpartition("/")[2]
    return mid


def by_channel(exchange: Served, mid: str) -> dict[str, dict[str, Any]]:
    return {row["channel"]: row for row in exchange.deliveries(mid)}


def accepted(exchange: Served, mid: str) -> set[str]:
    return {channel for channel, row in by_channel(exchange, mid).items() if row["state"] == "accepted"}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    "action", [{"type": "hang"}, {"type": "reset", "connection": True}, {"type": "respond", "status": 503}]
)
def test_a_broken_provider_delays_no_other_channel(exchange: Served, action: dict[str, Any]) -> None:
    """Every other channel has the message within seconds; the broken one's work ends by its deadline, plus a second."""
    rule = {"channel": "apns", "count": None, "action": action}
    assert exchange.http.post("/sandbox/rules", json=rule).status_code < 300
    mids = [publish(exchange, f"Number {number}", opts={"ttl": TTL_S}) for number in range(3)]
    others = (CHANNELS - {"apns"}) | {"websocket"}
    exchange.until(lambda: all(accepted(exchange, mid) >= others for mid in mids), 5)
    assert all(by_channel(exchange, mid)["apns"]["state"] != "accepted" for mid in mids)
    exchange.until(lambda: all(exchange.message(mid)["state"] == "settled" for mid in mids), TTL_S + 10)
    for mid in mids:
        row = by_channel(exchange, mid)["apns"]
        assert row["state"] == "expired", row
        ended = moment(row["times"]["expired"]) - moment(row["times"]["planned"])
        assert ended <= timedelta(seconds=TTL_S + 1), row["times"]


def test_what_a_provider_missed_comes_when_it_is_back(exchange: Served) -> None:
    """A refusal for now is tried again; after the outage the message arrives, once."""
    rule = {"channel": "fcm", "count": 2, "action": {"type": "respond", "status": 503}}
    assert exchange.http.post("/sandbox/rules", json=rule).status_code < 300
    mid = publish(exchange, "patient")
    exchange.until(lambda: exchange.message(mid)["state"] == "settled", 30)
    assert accepted(exchange, mid) == CHANNELS | {"websocket"}
    assert [item["body"] for item in exchange.arrived("fcm") if item["arrived"]] == ["patient"]


@pytest.mark.long
def test_a_killed_log_comes_back_by_itself(exchange: Served) -> None:
    """SIGKILL to nats-server again and again amid publishes: no restart of ours; what was acknowledged arrives."""
    acknowledged: list[str] = []
    stop = threading.Event()
    threads = [
        threading.Thread(target=_publish_on, args=(exchange, number, acknowledged, stop))
        for number in range(PUBLISHERS)
    ]
    for thread in threads:
        thread.start()
    pid = exchange.pid
    for _ in range(KILLS):
        _wait_for_more(exchange, acknowledged)
        os.kill(_nats_server(pid), signal.SIGKILL)
    _wait_for_more(exchange, acknowledged)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert exchange.pid == pid
    exchange.until(lambda: exchange.http.get("/readyz").status_code == 200, 20)
    for mid in acknowledged:
        exchange.until(partial(_is_settled, exchange, mid), 90)
        assert accepted(exchange, mid) == CHANNELS | {"websocket"}


def _is_settled(exchange: Served, mid: str) -> bool:
    return bool(exchange.message(mid)["state"] == "settled")


def _wait_for_more(exchange: Served, acknowledged: list[str]) -> None:
    count = len(acknowledged)
    exchange.until(lambda: len(acknowledged) >= count + 10, 30)


def _publish_on(exchange: Served, number: int, acknowledged: list[str], stop: threading.Event) -> None:
    """Only what was answered with 200 counts; a failure is a proper answer, and the next call goes on."""
    headers = {"Authorization": f"Bearer {exchange.token('demo')}"}
    with httpx.Client(base_url=exchange.http.base_url, headers=headers, timeout=30) as client:
        count = 0
        while not stop.is_set():
            count += 1
            answer = client.post("/api/v2/publish", json={"tid": "demo", "msg": f"{number}-{count}"})
            if answer.status_code == 200:
                acknowledged.append(answer.headers["location"].rpartition("/")[2])
            else:
                assert answer.status_code == 503, answer.text
            stop.wait(0.1)


def _nats_server(parent: int) -> int:
    """The server that runs now; a new one may be on its way."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = subprocess.run(
            ["pgrep", "-P", str(parent), "nats-server"], capture_output=True, text=True, check=False
        ).stdout.split()
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("no nats-server runs")
