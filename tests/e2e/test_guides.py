"""What README and the API guide tell people to type works as written, and the log tells a message's whole story."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.served import BLOCK, ROOT, Served, served

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
    found = BLOCK.findall((ROOT / document).read_text())
    return [block for block in found if "make " not in block]


def test_the_readme_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """Token, first message, its deliveries, every step of it: one right after the other in one shell, and yet no
    delivery is still under way.
    """
    shell = blocks("README.md")
    assert len(shell) >= 3
    said = exchange.run("\n".join(shell), tmp_path)
    assert "200 OK" in said
    assert '{"items":' in said
    assert set(re.findall(r'"channel":"(\w+)"', said)) == CHANNELS | {"websocket"}
    assert set(re.findall(r'"state":"(\w+)"', said)) == {"accepted"}
    assert "message.accepted.v2" in said


def test_the_api_guide_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """Every call of the guide succeeds."""
    shell = blocks("docs/guides/api.md")
    assert len(shell) >= 4
    said = exchange.run("\n".join(shell), tmp_path)
    assert '"status":4' not in said, said
    assert '"status":5' not in said, said
    assert re.search(r"location: /api/v2/messages/[0-9a-f-]{36}", said), said
    assert '"slug":"/api/v2/subscribe/thread"' in said, said


def test_the_rotation_drill_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """A new key signs without a restart, the former verifies until it is removed, then a refresh heals the device."""
    said = exchange.run("\n".join(blocks("docs/guides/tokens.md")), tmp_path)
    assert re.findall(r"^\d{3}$", said, re.MULTILINE) == ["204", "200", "204", "401", "200", "204", "204"]
    assert "signed by the new key" in said
    assert len(re.findall(r"^sdk", said, re.MULTILINE)) == 1


def test_the_log_tells_a_messages_whole_story(exchange: Served, tmp_path: Path) -> None:
    """From acceptance to every channel's outcome, by `events show`; addresses and content stay hidden."""
    body = {"tid": "demo", "msg": "A story to tell"}
    answer = exchange.call("POST", "/api/v2/publish", body, uid="demo", role="")
    mid = answer.headers["location"].rpartition("/")[2]
    exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
    said = exchange.run(f".venv/bin/msgxc events show {mid} --json", tmp_path)
    facts = [json.loads(line) for line in said.splitlines()]
    assert {fact["topic"] for fact in facts} >= STEPS
    outcomes = {fact["subject"].split(".")[1] for fact in facts if fact["topic"] == "outcome.v2"}
    assert outcomes == CHANNELS
    tail = exchange.run(".venv/bin/msgxc events tail -n 200", tmp_path)
    for personal in ("A story to tell", "demo@example.org", "+15005550009"):
        assert personal not in said
        assert personal not in tail
    assert "message.settled.v1" in tail
    assert "A story to tell" in exchange.run(f".venv/bin/msgxc events show {mid} --show-personal", tmp_path)
