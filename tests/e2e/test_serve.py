"""`msgxc serve` as an operator meets it: ready, the demo on six channels, a clean end, and a start after SIGKILL."""

from __future__ import annotations

import signal
import time

import pytest

from tests.fixtures.exchange import RunningExchange

CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}
ARRIVAL_S_MAX = 20.0


def _publish(exchange: RunningExchange, text: str) -> str:
    """The message's address."""
    with exchange.client(exchange.token("demo")) as client:
        answer = client.post("/api/v2/publish", json={"tid": "demo", "msg": text})
    assert (answer.status_code, answer.json()) == (200, True)
    return answer.headers["location"]


def _arrived(exchange: RunningExchange, text: str) -> list[str]:
    with exchange.client() as client:
        items = client.get("/sandbox/messages", params={"limit": 500}).json()["items"]
    return [item["channel"] for item in items if item["body"] == text]


def test_one_publish_reaches_every_channel(served: RunningExchange) -> None:
    """A publish to the demo thread arrives once on each channel; its deliveries and the log tell every step."""
    where = _publish(served, "hello")
    served.wait(lambda: set(_arrived(served, "hello")) == CHANNELS, ARRIVAL_S_MAX, "arrival")
    assert len(_arrived(served, "hello")) == len(CHANNELS)
    with served.client(served.token("ops", "admin")) as client:

        def states() -> set[str]:
            return {item["state"] for item in client.get(f"{where}/deliveries").json()["items"]}

        served.wait(lambda: states() == {"accepted"}, ARRIVAL_S_MAX, "outcomes in the read model")
        deliveries = client.get(f"{where}/deliveries").json()["items"]
    assert {item["channel"] for item in deliveries} == CHANNELS | {"websocket"}
    topics = {fact["topic"] for fact in served.facts()}
    assert topics >= {"message.accepted.v1", "audience.v1", "dispatch.v1", "attempt.v1", "outcome.v1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it(exchange: RunningExchange, number: signal.Signals) -> None:
    """The start on an empty folder takes under 5 s; SIGTERM or Ctrl-C: exit code 0, and no process is left."""
    began_s = time.monotonic()
    exchange.start()
    assert time.monotonic() - began_s < 5.0 * _slack()
    assert len(exchange.family()) > 1
    assert exchange.stop(number) == 0


def test_a_second_start_finds_everything(exchange: RunningExchange) -> None:
    """After a stop, and after SIGKILL of everything, the data is there and the demo is not made twice."""
    exchange.start()
    _publish(exchange, "before")
    exchange.wait(lambda: set(_arrived(exchange, "before")) == CHANNELS, ARRIVAL_S_MAX, "arrival")
    exchange.kill()
    exchange.start()
    topics = [fact["topic"] for fact in exchange.facts()]
    assert (topics.count("thread.opened.v1"), topics.count("message.accepted.v1")) == (1, 1)
    assert set(_arrived(exchange, "before")) == CHANNELS
    _publish(exchange, "after")
    exchange.wait(lambda: set(_arrived(exchange, "after")) == CHANNELS, ARRIVAL_S_MAX, "arrival")
    assert exchange.stop() == 0


def test_a_second_exchange_is_refused(served: RunningExchange) -> None:
    """Two never share a data folder: the second says who has it and ends with 1."""
    second = served.command("serve", check=False)
    assert second.returncode == 1
    assert served.process is not None
    assert f"in use by process {served.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_in_use_is_said_at_once(served: RunningExchange) -> None:
    """The start stops with one line that says what to write."""
    other = RunningExchange(served.folder)
    other.environment |= {
        "MSGXC_DATA_DIR": str(served.folder / "other"),
        "MSGXC_HTTP_PORT": served.address.rpartition(":")[2],
    }
    refused = other.command("serve", check=False)
    assert "another program listens there; write a free port" in refused.stderr
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_roles_in_processes_of_their_own(exchange: RunningExchange) -> None:
    """With --processes each role is a child; a publish arrives, and all end together."""
    exchange.start("--processes")
    assert len(exchange.family()) >= 2 + 2 + len(CHANNELS)
    _publish(exchange, "spread")
    exchange.wait(lambda: set(_arrived(exchange, "spread")) == CHANNELS, ARRIVAL_S_MAX, "arrival")
    assert exchange.stop() == 0


def _slack() -> float:
    """How much slower this machine is right now than an idle one: measured, so that load does not fail the test."""
    began_s = time.perf_counter()
    sum(range(20_000_000))
    return max(1.0, (time.perf_counter() - began_s) / 0.35)
