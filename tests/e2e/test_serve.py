"""`msgxc serve` as an operator meets it: ready in time, a clean end, clear refusals, roles in processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fixtures.credentials import p256_pem, service_account
from tests.fixtures.environment import without_settings
from tests.fixtures.exchange import RunningExchange

CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}
ARRIVAL_S_MAX = 20.0


def _publish(exchange: RunningExchange, text: str) -> None:
    with exchange.client(exchange.token("demo")) as client:
        answer = client.post("/api/v2/publish", json={"tid": "demo", "msg": text})
    assert (answer.status_code, answer.json()) == (200, True)


def _arrived(exchange: RunningExchange, text: str) -> list[str]:
    with exchange.client() as client:
        items = client.get("/sandbox/messages", params={"limit": 500}).json()["items"]
    return [item["channel"] for item in items if item["body"] == text]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it(exchange: RunningExchange, number: signal.Signals) -> None:
    """The start on an empty folder takes under 5 s; SIGTERM or Ctrl-C: exit code 0, and no process is left."""
    began_s = time.monotonic()
    exchange.start()
    assert time.monotonic() - began_s < 5.0 * _slack()
    assert len(exchange.family()) > 1
    assert exchange.stop(number) == 0


def test_what_cannot_be_logged_stops_nothing(exchange: RunningExchange) -> None:
    """With a full disk under its log it delivers, and ends as it should."""
    exchange.start(log=Path("/dev/full"))
    _publish(exchange, "nobody hears of this")
    exchange.wait(lambda: len(_arrived(exchange, "nobody hears of this")) == 5, ARRIVAL_S_MAX, "all channels")
    assert exchange.stop() == 0


def test_a_second_signal_ends_it_at_once(exchange: RunningExchange) -> None:
    """With a log that does not answer, draining takes its time; whoever asks twice need not wait for it."""
    exchange.start()
    assert exchange.process is not None
    (nats,) = [pid for pid in exchange.family() if "nats-server" in exchange.program(pid)]
    os.kill(nats, signal.SIGSTOP)
    exchange.process.send_signal(signal.SIGTERM)
    exchange.wait(lambda: '"stopping"' in exchange.output.read_text(), 5.0, "word of stopping")
    exchange.process.send_signal(signal.SIGTERM)
    assert exchange.process.wait(3) == 128 + signal.SIGTERM
    os.kill(nats, signal.SIGKILL)


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


def test_a_port_in_use_for_figures_is_said_at_once(served: RunningExchange) -> None:
    """By a role that runs alone, too."""
    role = RunningExchange(served.folder, {"MSGXC_METRICS_PORT": served.address.rpartition(":")[2]})
    refused = role.command("project", check=False)
    assert refused.stderr.startswith("msgxc: MSGXC_METRICS_PORT=")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_what_is_printed_works_from_any_terminal(tmp_path: Path) -> None:
    """Pasted into a shell in another folder, without our settings; whatever letters the data folder has."""
    exchange = RunningExchange(tmp_path, {"MSGXC_DATA_DIR": str(tmp_path / "dónées d'été")})
    try:
        exchange.start()
        printed = exchange.output.read_text().partition("another terminal:")[2].partition("Ctrl-C")[0]
        done = subprocess.run(
            ["sh", "-c", printed],
            cwd="/",
            env=without_settings(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == "true", done.stderr
        exchange.wait(lambda: len(_arrived(exchange, "Hello from MSGXC")) == 5, ARRIVAL_S_MAX, "arrival")
        assert exchange.stop() == 0
    finally:
        if exchange.process is not None and exchange.process.poll() is None:
            exchange.kill()


def test_with_providers_for_all_channels_there_is_no_demo(exchange: RunningExchange) -> None:
    """No sandbox runs, no demo thread is made, and none is spoken of. It listens on IPv6, too."""
    files = {"apns.p8": p256_pem(), "vapid.pem": p256_pem(), "fcm.json": json.dumps(service_account())}
    for name, content in files.items():
        (exchange.folder / name).write_text(content)
    exchange.environment |= {
        "MSGXC_HTTP_HOST": "::1",
        "MSGXC_APNS_KEY_FILE": str(exchange.folder / "apns.p8"),
        "MSGXC_APNS_KEY_ID": "ABC123DEFG",
        "MSGXC_APNS_TEAM_ID": "DEF123GHIJ",
        "MSGXC_APNS_TOPIC": "org.example.app",
        "MSGXC_FCM_CREDENTIALS_FILE": str(exchange.folder / "fcm.json"),
        "MSGXC_VAPID_PRIVATE_KEY_FILE": str(exchange.folder / "vapid.pem"),
        "MSGXC_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "MSGXC_TWILIO_AUTH_TOKEN": "t0ken",
        "MSGXC_TWILIO_FROM": "+15005550006",
        "MSGXC_SMTP_URL": "smtp://127.0.0.1:1?starttls=no",
        "MSGXC_MAIL_FROM": "News <news@example.org>",
    }
    exchange.start()
    printed = exchange.output.read_text()
    assert "MSGXC serves on http://[::1]:" in printed
    assert "demo" not in printed.replace(str(exchange.folder), "")
    assert "sandbox" not in printed
    assert exchange.stop() == 0


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
