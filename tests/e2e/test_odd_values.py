"""Commands on a running exchange with values that cannot be meant, and outputs that cannot be written: a clear end."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.failures import told
from cli.main import app
from tests.fixtures.exchange import RunningExchange

pytestmark = pytest.mark.usefixtures("logs_as_before")

MSGXC = f"{sys.executable} -m cli"


@pytest.fixture(autouse=True)
def files(served: RunningExchange) -> Path:
    """What paths lead to where something else is meant."""
    folder = served.folder / "files"
    if not folder.exists():
        (folder / "full").mkdir(parents=True)
        (folder / "full" / "file").write_text("x")
        (folder / "begun.jsonl").write_text("{}\n")
        (folder / "begun.jsonl.position").write_text("no position")
    return folder


def shell(exchange: RunningExchange, line: str) -> subprocess.CompletedProcess[str]:
    """`msgxc LINE`, where the line may redirect, in the folder of `files`."""
    return subprocess.run(
        ["bash", "-c", f"{MSGXC} {line}"],
        cwd=exchange.folder / "files",
        env={**exchange.environment, "MSGXC_DATA_DIR": str(exchange.folder / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("events export >&-", "standard output: Bad file descriptor"),
        ("events export >/dev/full", "standard output: No space left on device"),
        ("events tail --json >/dev/full", "standard output: No space left on device"),
        ("projections lag >&-", "standard output: Bad file descriptor"),
    ],
)
def test_an_output_that_cannot_be_written_is_named(served: RunningExchange, line: str, says: str) -> None:
    """In one line, with exit code 1: whoever counts on the data must know that it is not there."""
    done = shell(served, line)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"msgxc: {says}\n")


@pytest.mark.parametrize(
    ("what", "where"),
    [("thread:none", " in realm main"), ("merchant:none", ""), ("5c0c9a6e3f7a8d1e9b2a4c6d8e0f1a2b", "")],
)
def test_what_the_log_does_not_know_is_named(served: RunningExchange, what: str, where: str) -> None:
    """With the realm where the name is one realm's; an id is looked for in all of them."""
    done = shell(served, f"events show {what}")
    assert (done.returncode, done.stderr) == (1, f"msgxc: the log says nothing of {what}{where}\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("events export --out /proc/x", "/proc/x: No such file or directory"),
        ("events export --out /etc/hostname/x --format parquet", "/etc/hostname/x: Not a directory"),
        ("events export --out full", "full is a folder: name a file by --out"),
        ("events export --out ''", ". is a folder: name a file by --out"),
        ("events export --out full/file --format parquet", "full/file is no folder: name one by --out"),
        ("events export --out begun.jsonl", "begun.jsonl.position does not say how far the output is"),
        ("events export --after 999999", "--after 999999: EVENTS ends at "),
        ("events export --stream DELIVERY --until 999999", "--until 999999: DELIVERY ends at "),
        ("events show EVENTS:999999", "EVENTS:999999: EVENTS ends at "),
        ("events show EVENTS:-1", "write EVENTS:POSITION with a number from 1"),
        ("events show nothing", "nothing is no id"),
        ("events show other:thing", "DELIVERY:POSITION, SIGNALS:POSITION or an id"),
        ("apps refresh none", "there is no app service to ask: set MSGXC_APPS_URL"),
        ("keys erase --uid nobody --yes", "no contact has the uid 'nobody'"),
        ("apps show none", "no app has the code none in realm main"),
        ("projections rebuild none", "there is no projection none"),
        ("backup copy --keys /proc/x", "/proc/x: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_why(
    served: RunningExchange, files: Path, line: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was given is named, and nothing is printed."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("MSGXC_DATA_DIR", str(served.folder / "data"))
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exception is not None
    assert (says in (told(result.exception) or ""), result.stdout) == (True, ""), result.exception


def test_a_disk_that_is_full_in_the_middle_is_gone_on_with(served: RunningExchange, files: Path) -> None:
    """The file is named; once there is room, an export into it goes on as if nothing had been."""
    whole = shell(served, "events export").stdout
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; {MSGXC} events export --out late.jsonl"],
        cwd=files,
        env={**served.environment, "MSGXC_DATA_DIR": str(served.folder / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (full.returncode, full.stderr) == (1, "msgxc: late.jsonl: File too large\n")
    assert shell(served, "events export --out late.jsonl").returncode == 0
    assert (files / "late.jsonl").read_text() == whole


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"digest": "00"}, "EVENTS holds another fact at "),
        ({"position": 999_999}, "EVENTS ends at "),
    ],
)
def test_an_output_of_a_log_that_lost_its_tail_is_not_gone_on_with(
    served: RunningExchange, files: Path, changed: dict[str, str | int], reason: str
) -> None:
    """The lost facts would stay in it, and those that have got their positions since would be missing."""
    out, place = files / "lost.jsonl", files / "lost.jsonl.position"
    for path in (out, place):
        path.unlink(missing_ok=True)
    assert shell(served, "events export --out lost.jsonl").returncode == 0
    place.write_text(json.dumps(json.loads(place.read_text()) | changed))
    before = out.read_bytes()
    refused = shell(served, "events export --out lost.jsonl")
    assert (refused.returncode, out.read_bytes()) == (1, before)
    assert refused.stderr.startswith("msgxc: the output is of another log, or of more of this one (" + reason)


def test_what_has_not_happened_yet_is_no_mistake(served: RunningExchange) -> None:
    """A topic that there is, and the end of the log, give nothing, and the exit code of a success."""
    end = json.loads(shell(served, "events tail --stream EVENTS --json -n 1").stdout)["position"]
    assert (shell(served, f"events export --after {end}").returncode, end > 0) == (0, True)
    nothing = shell(served, "events tail --topic message.cancelled.v1")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "nothing of message.cancelled.v1 yet\n"
    shop = shell(served, "shops tail --shop 7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f --action ADD")
    assert "nothing has been published of shop 7f6c2b8e" in shop.stderr


def test_ctrl_c_ends_what_follows(served: RunningExchange) -> None:
    """With 130, as a shell expects, and without a traceback."""
    following = subprocess.Popen(
        shlex.split(f"{MSGXC} events tail --follow --json"),
        env=served.environment,
        cwd=served.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert following.stdout is not None
    following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=30)
    assert (following.returncode, said) == (130, b"")


def test_who_leaves_is_told_nothing(served: RunningExchange) -> None:
    """As `| head` does, in the middle of what is followed, too."""
    done = shell(served, "events tail --json -n 10000 | head -1")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


@pytest.mark.parametrize("redirected", [">&-", ">/dev/full"])
def test_a_greeting_that_nobody_reads_stops_nothing(exchange: RunningExchange, redirected: str) -> None:
    """The exchange serves, and ends as it should."""
    announced = exchange.folder / "data" / "serving.json"
    serving = subprocess.Popen(
        ["bash", "-c", f"exec {MSGXC} serve {redirected}"],
        cwd=exchange.folder,
        env=exchange.environment,
        stderr=subprocess.PIPE,
    )
    try:
        exchange.wait(announced.exists, 30.0, "readiness")
    finally:
        serving.send_signal(signal.SIGTERM)
        _, said = serving.communicate(timeout=30)
    assert (serving.returncode, b"standard output" in said) == (0, False), said
