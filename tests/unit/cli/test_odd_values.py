"""Values that cannot be meant: each command refuses them before it does anything, in a line that says what to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.failures import is_unheard, told
from cli.main import app
from cli.options import duration
from cli.tokens import TTL_MAX

pytestmark = pytest.mark.usefixtures("logs_as_before")

SHOP = "--shop=7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f"


@pytest.fixture(autouse=True)
def folder(empty_folder: Path) -> Path:
    """A folder with keys, a file and a folder to be in."""
    CliRunner().invoke(app, ["keys", "make"])
    (empty_folder / "file").write_text("x")
    (empty_folder / "full").mkdir()
    (empty_folder / "full" / "file").write_text("[]")
    return empty_folder


def ended(*arguments: str) -> tuple[int, str]:
    """The exit code and the last line that is said. A traceback fails the test."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return result.exit_code, " ".join(result.output.split())
    line = told(result.exception)
    assert line is not None, repr(result.exception)
    return 1, line


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("token --uid ann --ttl 999999999999d", "write 366d at most"),
        ("token --uid ann --ttl 99999999d", "write 366d at most"),
        (f"token --uid ann --ttl {'9' * 5000}s", "write 366d at most"),
        ("token --uid ann --ttl 367d", "write 366d at most"),
        ("token --uid=", "1 to 256 printable characters"),
        (f"token --uid {'a' * 257}", "1 to 256 printable characters"),
        ("token --uid ann --role=", "write a name such as admin"),
        ("token --uid ann --app=", "is no app's code"),
        ("token --uid ann --shop 12", "valid UUID"),
        ("token --uid ann --realm x/y", "is no realm"),
        ("events tail --lines -1", "greater than or equal to 0"),
        ("events tail --lines 99999999999999999999", "less than or equal to 10000"),
        ("events tail --stream NONE", "is not one of"),
        ("events tail --topic mesage", "do you mean message"),
        ("events tail --topic=", "the kinds are app, "),
        ("events tail --stream EVENTS --topic dispatch.v3", "write --stream DELIVERY"),
        ("events show thread:demo --realm=", "is no realm"),
        ("events export --topic message.acepted.v2", "do you mean message.accepted.v2"),
        ("events export --topic nonsense", "the kinds are app, "),
        ("events export --topic outcome", "write --stream DELIVERY"),
        ("events export --after -1", "greater than or equal to 0"),
        ("events export --until 0", "greater than or equal to 1"),
        ("events export --after 5 --until 5", "there is nothing behind 5 up to 5"),
        ("events export --format xml", "is not one of"),
        (f"shops export {SHOP} --after 2023-13-01", "is no time with a zone"),
        (f"shops export {SHOP} --after 2023-12-01", "is no time with a zone"),
        (f"shops export {SHOP} --after 2023-12-01T00:00:00Z --before 2022-12-01T00:00:00Z", "no time from"),
        ("shops tail --shop mine", "valid UUID"),
        ("keys erase --uid= --yes", "1 to 256 printable characters"),
        ("keys erase --uid ann --realm x/y --yes", "is no realm"),
        ("keys rotate all", "is not one of"),
        ("apps list --realm=", "is no realm"),
        ("apps refresh a>b", "is no app's code"),
        ("apps retire *", "is no app's code"),
        ("backup new --keys new", "would be kept together"),
        ("backup new --keys new/keys", "would be kept together"),
        ("backup new/log --keys ./full/../new", "would be kept together"),
        ("gateway fax", "there is no channel fax"),
    ],
)
def test_a_value_that_cannot_be_meant_ends_with_2(folder: Path, line: str, says: str) -> None:
    """It is named, with what to write instead."""
    code, said = ended(*line.split())
    assert (code, says in said) == (2, True), said
    assert sorted(each.name for each in folder.iterdir()) == [".msgxc", "file", "full"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("backup file", "file is not an empty folder"),
        ("backup full", "full is not an empty folder"),
        ("backup new --keys file", "file is not an empty folder"),
        ("backup /etc/hostname/new", "/etc/hostname/new: Not a directory"),
        ("backup /proc/new", "/proc/new: No such file or directory"),
        ("restore file", "file holds no whole backup"),
        ("restore full", "full holds no whole backup"),
        ("restore /proc/nowhere", "/proc/nowhere holds no whole backup"),
        ("schema check --folder nowhere", "there is no folder nowhere"),
        ("schema check --folder file", "there is no folder file"),
        ("schema apply --folder file", "file: File exists"),
        ("schema apply --folder /proc/nowhere", "/proc/nowhere: No such file or directory"),
        ("apps register X --settings nowhere", "nowhere cannot be read: No such file or directory"),
        ("apps register X --settings full", "full cannot be read: Is a directory"),
        ("apps register X --settings file", "file: not a JSON object"),
        ("apps register X --settings full/file", "full/file: not a JSON object"),
        ("apps register X --settings /dev/zero", "/dev/zero: settings have at most 900,000 bytes"),
    ],
)
def test_a_path_that_cannot_be_used_ends_with_1(line: str, says: str) -> None:
    """A folder where a file is meant, or a file for a folder, or nothing at all: the path is named, and why."""
    code, said = ended(*line.split())
    assert (code, says in said) == (1, True), said


@pytest.mark.parametrize("folder_of_data", ["file", "/proc/nowhere", "/etc/hostname/x"])
@pytest.mark.parametrize(
    "line", ["keys make", "keys list", "events tail", "token --uid ann", "doctor", "api"]
)
def test_a_data_folder_that_cannot_be_is_named(
    line: str, folder_of_data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for."""
    monkeypatch.setenv("MSGXC_DATA_DIR", folder_of_data)
    code, said = ended(*line.split())
    assert (code, folder_of_data in said) == (1, True), said


def test_a_server_that_does_not_answer_is_named(folder: Path) -> None:
    """Where it was looked for, whatever is asked for; and no key is changed."""
    lines = (
        *("events tail", f"shops export {SHOP}", "apps list", "projections lag", "backup new", "project"),
        "keys rotate master",
    )
    master = (folder / ".msgxc" / "keys" / "master.key").read_text()
    environment = {**os.environ, "MSGXC_NATS_URL": "nats://127.0.0.1:1"}
    # All of them at once: each waits for a while, since a server that starts is not there at once.
    asking = [
        subprocess.Popen(
            [sys.executable, "-m", "cli", *line.split()], env=environment, stderr=subprocess.PIPE
        )
        for line in lines
    ]
    for line, each in zip(lines, asking, strict=True):
        _, said = each.communicate(timeout=60)
        assert (each.returncode, said.count(b"\n"), b"nats://127.0.0.1:1" in said) == (1, 1, True), (
            line,
            said,
        )
    assert (folder / ".msgxc" / "keys" / "master.key").read_text() == master


def test_a_file_whose_keys_are_others_is_no_key_backup(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore with wrong keys makes and brings back none: the right ones find their place empty."""
    manifest = '{"form": 1, "made_at": "2026-01-02T00:00:00Z", "id_key": "0123456789abcdef", "streams": []}'
    for name, written in (("log", manifest), ("others", manifest.replace("0123", "3210"))):
        (folder / name / "files").mkdir(parents=True)
        (folder / name / "manifest.json").write_text(written)
    monkeypatch.setenv("MSGXC_DATA_DIR", "restored")
    for keys in ("others", "full"):
        assert ended("restore", "log", "--keys", keys)[0] == 1
        assert not (folder / "restored").exists()


def test_a_time_may_be_as_long_as_it_is_said() -> None:
    """The bound itself is taken, however it is written."""
    assert duration("366d", most=TTL_MAX, option="--ttl") == TTL_MAX
    assert duration("0008784h", most=TTL_MAX, option="--ttl") == TTL_MAX
    with pytest.raises(typer.BadParameter):
        duration("8785h", most=TTL_MAX, option="--ttl")


def test_a_reader_who_left_is_known_among_others() -> None:
    """What is followed is read by a group of tasks, whose errors come together."""
    assert is_unheard(ExceptionGroup("following", [ExceptionGroup("more", [BrokenPipeError(32, "gone")])]))
    assert not is_unheard(ExceptionGroup("following", [OSError(28, "full")]))


def test_what_is_no_refusal_of_the_system_keeps_its_traceback() -> None:
    """A time-out of ours that nobody caught is a bug, though Python calls it an OSError."""
    assert told(OSError(28, "No space left on device", "a/b")) == "a/b: No space left on device"
    assert told(OSError(28, "No space left on device")) == "No space left on device"
    assert told(TimeoutError()) is None
