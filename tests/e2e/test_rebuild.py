"""Read models are built anew while the exchange works: reads never fail, nothing is missing, a kill costs time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.fixtures.served import ROOT, Served, served

pytestmark = pytest.mark.long

BEFORE = 300
"""Messages before the first rebuild: it takes long enough to be killed in the middle."""
COMMAND_S_MAX = 90


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("rebuild")) as running:
        body = {"tid": "quiet", "name": "Quiet", "openp": True}
        assert running.call("POST", "/api/v2/threads", body).status_code < 300
        yield running


def command(exchange: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "projections", *arguments],
        cwd=ROOT,
        env=exchange.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def start(exchange: Served, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "projections", *arguments],
        cwd=ROOT,
        env=exchange.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Traffic:
    """Publishes and reads, until told to stop; a read that fails, or finds nothing, is kept as a fault."""

    def __init__(self, exchange: Served) -> None:
        self._exchange = exchange
        self.mids: list[str] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._publish), threading.Thread(target=self._read)]

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._exchange.token('ops', 'admin')}"}
        return httpx.Client(base_url=self._exchange.http.base_url, headers=headers, timeout=20)

    def publish(self, client: httpx.Client, count: int) -> None:
        for _ in range(count):
            answer = client.post("/api/v2/publish", json={"tid": "quiet", "msg": f"m{len(self.mids)}"})
            assert answer.status_code == 200, answer.text
            self.mids.append(answer.headers["location"].rpartition("/")[2])

    def _publish(self) -> None:
        with self.client() as client:
            while not self._stop.is_set():
                self.publish(client, 1)
                self._stop.wait(0.02)

    def _read(self) -> None:
        with self.client() as client:
            while not self._stop.is_set():
                if self.mids:
                    answer = client.get(f"/api/v2/messages/{self.mids[-1]}")
                    if answer.status_code != 200:
                        self.faults.append(answer.text)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@contextmanager
def traffic(exchange: Served) -> Iterator[Traffic]:
    made = Traffic(exchange)
    with made.client() as client:
        made.publish(client, BEFORE)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def live(exchange: Served, projection: str) -> int:
    """The number of the live generation."""
    for line in command(exchange, "list").stdout.splitlines():
        if line.split()[0] == projection and "live" in line:
            return int(line.split()[1])
    raise AssertionError(f"{projection} has no live generation")


def listed(exchange: Served) -> list[str]:
    """Every message of the thread, by the read models."""
    mids: list[str] = []
    cursor = ""
    while True:
        page = exchange.call("GET", f"/api/v2/threads/quiet/messages?limit=200{cursor}").json()
        mids += [item["mid"] for item in page["items"]]
        cursor = f"&cursor={page['next']}" if page.get("next") else ""
        if not cursor:
            return mids


def test_a_rebuild_amid_writes(exchange: Served) -> None:
    """A killed rebuild is gone on with; reads are served throughout; afterwards nothing is missing, and all agrees."""
    first = live(exchange, "messages")
    with traffic(exchange) as made:
        killed = start(exchange, "rebuild", "messages")
        models = exchange.folder / "data" / "models"
        exchange.until((models / f"messages-{first + 1}.db").exists, 20)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(10)
        done = command(exchange, "rebuild", "messages")
        assert done.returncode == 0, done.stderr
    assert made.faults == []
    assert live(exchange, "messages") > first
    assert sorted(listed(exchange)) == sorted(made.mids)
    verified = command(exchange, "verify", "messages")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert re.search(r"\bnone\b", verified.stdout), verified.stdout


def test_the_former_generation_comes_back(exchange: Served) -> None:
    """A roll-back catches up first: what was written since the switch is in it."""
    now = live(exchange, "messages")
    before = sorted(listed(exchange))
    answer = exchange.call("POST", "/api/v2/publish", {"tid": "quiet", "msg": "since the switch"})
    mid = answer.headers["location"].rpartition("/")[2]
    done = command(exchange, "rollback", "messages")
    assert done.returncode == 0, done.stderr
    assert live(exchange, "messages") < now
    assert sorted(listed(exchange)) == sorted([*before, mid])
