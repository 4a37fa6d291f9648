"""What README and the API guide tell people to type works as written, and the log tells a message's whole story."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.served import ROOT, Served, served

SCRIPT_S_MAX = 120
STEPS = {
    "message.accepted.v2",
    "audience.v2",
    "dispatch.v3",
    "attempt.v1",
    "outcome.v2",
    "message.dispatched.v1",
}
CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("guides")) as running:
        yield running


def blocks(document: str) -> list[str]:
    """The shell blocks of a document, but for those that begin an exchange of their own."""
    found = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    return [block for block in found if "make " not in block]


def run(exchange: Served, folder: Path, script: str) -> str:
    """What the script prints; it must end well. Only the address and the paths of the commands are replaced."""
    url = exchange.http.base_url
    replaced = script.replace("127.0.0.1:8000", f"{url.host}:{url.port}")
    commands = {".venv/bin/msgxc": f"{sys.executable} -m cli", ".venv/bin/python": sys.executable}
    replaced = re.sub(r"\.venv/bin/(msgxc|python)\b", lambda found: commands[found[0]], replaced)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", replaced],
        cwd=folder,
        env={**exchange.environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SCRIPT_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """Token, first message, its deliveries, every step of it: one after the other in one shell."""
    shell = blocks("README.md")
    assert len(shell) >= 3
    said = run(exchange, tmp_path, "\n".join(shell))
    assert "200 OK" in said
    assert '{"items":' in said
    assert "message.accepted.v2" in said


def test_the_api_guide_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """Every call of the guide succeeds."""
    shell = blocks("docs/guides/api.md")
    assert len(shell) >= 4
    said = run(exchange, tmp_path, "\n".join(shell))
    assert '"status":4' not in said, said
    assert '"status":5' not in said, said
    assert re.search(r"location: /api/v2/messages/[0-9a-f-]{36}", said), said
    assert '"slug":"/api/v2/subscribe/thread"' in said, said


def test_the_rotation_drill_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """A new key signs without a restart, the former verifies until it is removed, then a refresh heals the device."""
    said = run(exchange, tmp_path, "\n".join(blocks("docs/guides/tokens.md")))
    assert re.findall(r"^\d{3}$", said, re.MULTILINE) == ["204", "200", "204", "401", "200", "204", "204"]
    assert "signed by the new key" in said
    assert len(re.findall(r"^sdk", said, re.MULTILINE)) == 1


def test_the_log_tells_a_messages_whole_story(exchange: Served, tmp_path: Path) -> None:
    """From acceptance to every channel's outcome, by `events show`; addresses and content stay hidden."""
    body = {"tid": "demo", "msg": "A story to tell"}
    answer = exchange.call("POST", "/api/v2/publish", body, uid="demo", role="")
    mid = answer.headers["location"].rpartition("/")[2]
    exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
    said = run(exchange, tmp_path, f".venv/bin/msgxc events show {mid} --json")
    facts = [json.loads(line) for line in said.splitlines()]
    assert {fact["topic"] for fact in facts} >= STEPS
    outcomes = {fact["subject"].split(".")[1] for fact in facts if fact["topic"] == "outcome.v2"}
    assert outcomes == CHANNELS
    tail = run(exchange, tmp_path, ".venv/bin/msgxc events tail -n 200")
    for personal in ("A story to tell", "demo@example.org", "+15005550009"):
        assert personal not in said
        assert personal not in tail
    assert "message.settled.v1" in tail
    assert "A story to tell" in run(exchange, tmp_path, f".venv/bin/msgxc events show {mid} --show-personal")
