"""What an operator does beside a running exchange: look at the log, rebuild and verify, back up and restore."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.fixtures.exchange import RunningExchange

ARRIVAL_S_MAX = 20.0


def _publish(exchange: RunningExchange, text: str) -> str:
    """The message's id, once it has settled."""
    with exchange.client(exchange.token("demo", "admin")) as client:
        answer = client.post("/api/v2/publish", json={"tid": "demo", "msg": text})
        assert (answer.status_code, answer.json()) == (200, True)
        where = answer.headers["location"]
        exchange.wait(lambda: _state(client, where) == "settled", ARRIVAL_S_MAX, "settlement")
    return where.rpartition("/")[2]


def _state(client: httpx.Client, where: str) -> str:
    return str(client.get(where).json().get("state"))


def test_every_step_of_a_message_can_be_seen(served: RunningExchange) -> None:
    """`events tail` and `events show` tell its whole way, without its content unless asked for."""
    message = _publish(served, "for your eyes only")
    story = served.command("events", "show", message, "--json").stdout
    topics = [json.loads(line)["topic"] for line in story.splitlines()]
    assert topics[0] == "message.accepted.v2"
    assert {
        "message.dispatched.v1",
        "message.settled.v1",
        "audience.v2",
        "dispatch.v3",
        "attempt.v1",
        "outcome.v2",
    } <= set(topics)
    assert "for your eyes only" not in story
    assert "for your eyes only" in served.command("events", "show", message, "--show-personal").stdout
    assert "for your eyes only" not in served.command("events", "tail").stdout
    only = served.command("events", "tail", "--topic", "message.accepted.v2", "-n", "1", "--json").stdout
    assert json.loads(only)["topic"] == "message.accepted.v2"


def test_an_export_goes_on_where_it_stopped(served: RunningExchange, tmp_path: Path) -> None:
    """Two exports into one file hold every event once, in order."""
    out = tmp_path / "events.jsonl"
    served.command("events", "export", "--until", "3", "--out", str(out))
    served.command("events", "export", "--out", str(out))
    positions = [json.loads(line)["position"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert positions == list(range(1, len(positions) + 1))
    assert len(positions) >= 9


def test_read_models_are_rebuilt_verified_and_rolled_back(served: RunningExchange) -> None:
    """All of it while the exchange serves, without a failed read."""
    message = _publish(served, "kept")
    served.command("projections", "rebuild", "messages")
    served.command("projections", "verify", "messages", "contacts")
    rows = json.loads(served.command("projections", "list", "--json").stdout)
    states = {row["generation"]: row["state"] for row in rows if row["projection"] == "messages"}
    assert states == {1: "retired", 2: "live"}
    with served.client(served.token("demo", "admin")) as client:
        assert client.get(f"/api/v2/messages/{message}").json()["state"] == "settled"
    served.command("projections", "rollback", "messages")
    _publish(served, "after the roll back")
    lags = json.loads(served.command("projections", "lag", "--json").stdout)
    assert {row["projection"] for row in lags} >= {"contacts", "messages", "deliveries"}


def test_a_read_model_that_is_wrong_is_found_out(exchange: RunningExchange) -> None:
    """A row changed behind the exchange's back: verify names the table and ends with 1; a rebuild mends it."""
    exchange.start()
    _publish(exchange, "true")
    exchange.stop()
    (file,) = (exchange.folder / "data").rglob("messages-1.db")
    with sqlite3.connect(file) as database:
        tables = [
            name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'messages%'")
        ]
        assert database.execute(f'UPDATE "{tables[0]}" SET sender = ?', ("somebody",)).rowcount > 0  # noqa: S608
    database.close()
    found = exchange.command("projections", "verify", "messages", "--json", check=False)
    assert (found.returncode, json.loads(found.stdout)[0]["differences"]) == (1, ["messages"])
    exchange.command("projections", "rebuild", "messages")
    assert exchange.command("projections", "verify", "messages", check=False).returncode == 0


def test_a_backup_comes_back_in_a_new_epoch(served: RunningExchange, tmp_path: Path) -> None:
    """Backed up while it serves, restored into an empty folder: every message is there, and work goes on."""
    before = _publish(served, "before the backup")
    served.command("backup", str(tmp_path / "log"), "--keys", str(tmp_path / "keys"))
    _publish(served, "after the backup")
    other = RunningExchange(tmp_path)
    refused = other.command("restore", str(tmp_path / "log"), check=False)
    assert refused.returncode == 1
    assert "give its keys by --keys" in refused.stderr
    assert not (tmp_path / "data").exists(), "a refused restore makes nothing"
    other.command("restore", str(tmp_path / "log"), "--keys", str(tmp_path / "keys"))
    other.start()
    try:
        with other.client(other.token("demo", "admin")) as client:
            assert client.get(f"/api/v2/messages/{before}").json()["state"] == "settled"
        assert _publish(other, "in the new life") != before
        texts = other.command("events", "tail", "--show-personal", "--topic", "message.accepted").stdout
        assert "after the backup" not in texts
        # What sockets show goes on, too.
        other.wait(lambda: _feed_lag(other) == 0.0, ARRIVAL_S_MAX, "frame")
        again = other.command("restore", str(tmp_path / "log"), check=False)
        assert (again.returncode, "in use by process" in again.stderr) == (1, True)
    finally:
        other.stop()


def _feed_lag(exchange: RunningExchange) -> float:
    with exchange.client() as client:
        figures = client.get("/metrics").text
    [value] = re.findall(r'msgxc_part_value{part="feed",value="lag"} (\S+)', figures)
    return float(value)


def test_a_damaged_backup_is_refused(served: RunningExchange, tmp_path: Path) -> None:
    """A file that changed since it was written is noticed before anything is restored."""
    served.command("backup", str(tmp_path / "log"), "--keys", str(tmp_path / "keys"))
    snapshot = tmp_path / "log" / "EVENTS.snapshot"
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    snapshot.write_bytes(content)
    other = RunningExchange(tmp_path)
    refused = other.command("restore", str(tmp_path / "log"), "--keys", str(tmp_path / "keys"), check=False)
    assert (refused.returncode, "changed or damaged" in refused.stderr) == (1, True)


def test_the_doctor_finds_a_healthy_exchange(served: RunningExchange) -> None:
    """Every finding is well; a key that others can read is not."""
    findings = json.loads(served.command("doctor", "--json").stdout)
    assert {finding["state"] for finding in findings} == {"ok"}
    key = served.folder / "data" / "keys" / "master.key"
    key.chmod(0o644)
    try:
        ill = served.command("doctor", check=False)
    finally:
        key.chmod(0o600)
    assert ill.returncode == 1
    assert f"chmod 600 {key}" in ill.stdout


def test_a_lost_schedule_is_written_anew(served: RunningExchange) -> None:
    """`doctor --mend` finds the scheduled message whose schedule is gone, and it is still sent in time."""
    with served.client(served.token("demo", "admin")) as client:
        body = {
            "tid": "demo",
            "msg": "tomorrow",
            "scheduled": (datetime.now(UTC) + timedelta(days=20)).isoformat(),
        }
        answer = client.post("/api/v2/publish", json=body)
        assert answer.status_code == 200
    message = answer.headers["location"].rpartition("/")[2].replace("-", "")
    served.wait(lambda: _schedules(served, "1 messages scheduled"), ARRIVAL_S_MAX, "schedule")
    served.purge("SCHEDULES", f"schedule.message-{message}")
    ill = served.command("doctor", check=False)
    assert (ill.returncode, "msgxc doctor --mend" in ill.stdout) == (1, True)
    assert "written anew" in served.command("doctor", "--mend").stdout
    assert served.command("doctor").returncode == 0


def _schedules(exchange: RunningExchange, text: str) -> bool:
    done = exchange.command("doctor", check=False)
    return done.returncode == 0 and text in done.stdout


def test_keys_rotate_without_a_stop(served: RunningExchange) -> None:
    """A new signing key counts within a second, and tokens of the former one stay good."""
    former = served.token("demo")
    served.command("keys", "rotate", "jwt")
    newer = served.token("demo")
    assert former != newer

    def accepted(token: str) -> bool:
        with served.client(token) as client:
            return client.get("/api/v2/clients").status_code == 200

    served.wait(lambda: accepted(newer), 2.0, "new key")
    assert accepted(former)
    assert "stop it" in served.command("keys", "rotate", "master", check=False).stderr
