"""Standard streams that are closed, full, left or of another encoding: a clear end, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MSGXC = f"{sys.executable} -m cli"


@pytest.fixture(autouse=True)
def folder(empty_folder: Path) -> Path:
    """A folder with keys to be in."""
    assert shell("keys make").returncode == 0
    return empty_folder


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`msgxc LINE`, where the line may redirect."""
    return subprocess.run(
        ["bash", "-c", f"{MSGXC} {line}"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


DATA = ("--help", "token --uid ann", "keys list", "schema check --folder . --json")


@pytest.mark.parametrize("command", DATA)
def test_a_full_standard_output_is_named(command: str) -> None:
    """One line says what could not be written, and why."""
    done = shell(f"{command} >/dev/full")
    assert (done.returncode, done.stderr) == (1, b"msgxc: standard output: No space left on device\n")


@pytest.mark.parametrize("command", DATA)
def test_a_closed_standard_output_is_named(command: str) -> None:
    """Data that goes nowhere is a failure, not a success; no file that is opened is taken for standard output."""
    done = shell(f"{command} >&-")
    assert (done.returncode, done.stderr) == (1, b"msgxc: standard output: Bad file descriptor\n")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "<&-"])
def test_data_is_printed_whatever_else_is_closed(redirected: str) -> None:
    """What nobody can be told, or ask, stops nothing."""
    done = shell(f"token --uid ann {redirected}")
    assert (done.returncode, done.stdout.count(b".")) == (0, 2)


@pytest.mark.parametrize("redirected", [">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_with_nobody_to_tell_the_exit_code_tells(redirected: str) -> None:
    """No crash, either."""
    assert shell(f"token --uid ann {redirected}").returncode == 1


@pytest.mark.parametrize("given", ["<&-", "</dev/null", "< <(printf 'no\\n')", "< <(printf '\\xff\\n')"])
def test_a_question_without_a_yes_changes_nothing(given: str) -> None:
    """Also where nobody is there to be asked, or answers what is no text; the line says what to do."""
    done = shell(f"keys erase --uid ann {given}")
    told = done.stderr.decode().splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, b"")
    assert told.endswith("nothing was done") or "add --yes" in told


def test_an_argument_that_is_no_text_is_refused() -> None:
    """It is named as far as it can be."""
    done = shell("events show $'thread:\\xff'")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"is no text in the encoding of this terminal" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_a_letter_stops_nothing(encoding: str) -> None:
    """JSON is UTF-8 all the same; a table shows the letter's number."""
    environment = {"PYTHONIOENCODING": encoding, "MSGXC_DATA_DIR": "Żółw", "PYTHONUTF8": "1"}
    assert shell("keys make", **environment).returncode == 0
    as_json = shell("keys list --json", **environment)
    assert "Żółw/keys/id.key" in json.loads(as_json.stdout)[0]["source"]
    assert shell("keys list", **environment).returncode == 0


def test_whoever_stops_reading_is_told_nothing() -> None:
    """As `| head` does."""
    done = shell("schema check --folder . --json | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr.replace(b"msgxc schema apply writes them anew\n", b"")) in (
        (1, b""),
        (141, b""),
    )


def test_ctrl_c_at_a_question_ends_with_130(tmp_path: Path) -> None:
    """As a shell expects it, without a traceback."""
    command = [sys.executable, "-m", "cli", "keys", "erase", "--uid", "ann"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as asking:
        assert asking.stderr is not None
        said = asking.stderr.read(len("Destroy the key"))
        asking.send_signal(signal.SIGINT)
        said += asking.stderr.read()
        assert asking.wait(30) == 130
    assert b"Traceback" not in said
