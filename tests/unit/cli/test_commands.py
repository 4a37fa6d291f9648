"""The command line: every command explains itself, usage errors end with 2, failures with 1 and one line."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app
from tests.fixtures.certificates import Certificates

pytestmark = pytest.mark.usefixtures("logs_as_before", "empty_folder")

COMMANDS = (
    "serve",
    "api",
    "project",
    "dispatch",
    "resolve",
    "gateway",
    "token",
    "events tail",
    "events show",
    "events export",
    "shops tail",
    "shops export",
    "projections list",
    "projections lag",
    "projections rebuild",
    "projections verify",
    "projections rollback",
    "schema check",
    "schema apply",
    "keys list",
    "keys make",
    "keys rotate",
    "keys erase",
    "apps list",
    "apps show",
    "apps register",
    "apps change",
    "apps retire",
    "apps refresh",
    "backup",
    "restore",
    "doctor",
)

SAY_NOTHING = {
    *("serve", "api", "project", "dispatch", "resolve", "gateway", "schema apply", "backup", "restore"),
    *("projections rebuild", "projections rollback", "keys make", "keys rotate", "keys erase"),
    *("apps register", "apps change", "apps retire", "apps refresh"),
}
"""Commands that do something and print no data: what they tell goes to standard error."""

SHOW_FACTS = {"events tail", "events show", "events export"}
"""Commands that show what is said of people."""

START_S_MAX = 0.3


def _run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As a shell would run it, exit code and streams included."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    """--help says what the command does, and nothing is loaded or made for it."""
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Usage: msgxc {command}" in result.output.replace("root", "msgxc")
    assert not Path(".msgxc").exists()


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["token"], ["events", "tail", "--lines", "many"], ["gateway"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    """A command line that cannot be meant is refused before anything is done."""
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert not Path(".msgxc").exists()


def test_a_wrong_setting_ends_with_2_and_one_line() -> None:
    """The line names the setting and what to write."""
    done = _run("token", "--uid", "ann", environment={"MSGXC_HTTP_PORT": "eighty"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "msgxc: MSGXC_HTTP_PORT=eighty: write a whole number from 0 to 65535, like 8000\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["events", "tail"], "there are no keys in"),
        (["keys", "list"], "there are no keys in"),
        (["apps", "list"], "there are no keys in"),
        (["project"], "nothing serves from"),
        (["restore", "nowhere"], "nowhere holds no whole backup"),
        (["projections", "verify", "nonsense"], "there are no keys in"),
    ],
)
def test_a_failure_ends_with_1_and_one_line(arguments: list[str], says: str) -> None:
    """No traceback: one line on standard error that says what to do."""
    done = _run(*arguments)
    assert says in done.stderr
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")


def test_a_cassandra_that_does_not_answer_is_named() -> None:
    """Where it was looked for, and which setting says so."""
    done = _run("schema", "apply", "--folder", "schema", environment={"MSGXC_CASSANDRA": "127.0.0.1:1"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    written, told = done.stderr.splitlines()
    assert written == "schema is as the code says"
    assert told == "msgxc: no Cassandra answers at 127.0.0.1:1: start it, or mend MSGXC_CASSANDRA"


def test_a_cassandra_that_is_not_trusted_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    """A node that is there and speaks no TLS, where an authority is set: one line names that setting."""
    authority = Certificates(tmp_path).ca_file
    with socket.create_server(("127.0.0.1", 0)) as plain, ThreadPoolExecutor() as answering:
        answering.submit(_answer_plainly, plain)
        at = f"127.0.0.1:{plain.getsockname()[1]}"
        environment = {"MSGXC_CASSANDRA": at, "MSGXC_CASSANDRA_CA": authority}
        done = _run("schema", "apply", "--folder", "schema", environment=environment)
        plain.shutdown(socket.SHUT_RDWR)
    told = done.stderr.splitlines()[-1]
    assert told == f"msgxc: no TLS with the Cassandra at {at} (wrong version number): mend MSGXC_CASSANDRA_CA"
    assert done.returncode == 1


def _answer_plainly(listening: socket.socket) -> None:
    """Each connection, until nobody listens any more."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"no TLS here")


def test_a_restore_without_keys_makes_none(tmp_path: Path) -> None:
    """New keys would stand in the way of the backup's own, once they are given."""
    manifest = {"form": 1, "made_at": "2026-01-02T00:00:00Z", "id_key": "0123456789abcdef", "streams": []}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = _run("restore", str(tmp_path), environment={"MSGXC_DATA_DIR": str(tmp_path / "data")})
    assert (done.returncode, "give its keys by --keys" in done.stderr) == (1, True)
    assert not (tmp_path / "data").exists()


def walked(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from walked(below, *path, name)


EVERY = dict(walked(get_command(app)))


def called(line: str) -> list[str]:
    """The arguments of `msgxc` in an example, without what the shell does with its output; [] for another program."""
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        words.pop(0)
    ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&")]
    return words[1 : ends[0] if ends else None] if words[0] == "msgxc" else []


def parse(arguments: list[str]) -> None:
    """As the command line does, without running anything. Raises a usage error."""
    command, context, name = EVERY[()], None, "msgxc"
    while isinstance(command, TyperGroup):
        context = command.make_context(name, arguments[:1], parent=context)
        name, arguments = arguments[0], arguments[1:]
        command = command.commands[name]
    command.make_context(name, arguments, parent=context)


def test_every_command_is_walked() -> None:
    """Those of groups, too."""
    assert {" ".join(path) for path, command in EVERY.items() if not isinstance(command, TyperGroup)} == set(
        COMMANDS
    )


@pytest.mark.parametrize("path", EVERY, ids=lambda path: " ".join(path) or "msgxc")
def test_every_command_has_examples_that_are_true(path: tuple[str, ...]) -> None:
    """Each command and group shows some, unbroken, of arguments and options that there are."""
    lines = (EVERY[path].epilog or "").partition("Examples:\n")[2].splitlines()
    assert any(" ".join(("msgxc", *path)) in line for line in lines), "no example of its own"
    for arguments in filter(None, map(called, lines)):
        parse(arguments)
    shown = CliRunner().invoke(app, [*path, "--help"]).output
    assert all(line in shown for line in lines)


@pytest.mark.parametrize(
    "path",
    [path for path, command in EVERY.items() if isinstance(command, TyperGroup)],
    ids=lambda path: " ".join(path) or "msgxc",
)
def test_a_group_says_of_each_command_what_it_does_without_breaking_off(path: tuple[str, ...]) -> None:
    """In a window of 80 columns, the first sentence of its help is there as a whole."""
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80).output
    assert [line for line in shown.partition("Commands:")[2].splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize(
    "path", [path for path, command in EVERY.items() if not isinstance(command, TyperGroup)]
)
def test_every_command_that_prints_data_prints_it_for_programs(path: tuple[str, ...]) -> None:
    """As JSON, or in a form of several; one that prints none offers none."""
    options = {option for parameter in EVERY[path].params for option in parameter.opts}
    assert bool(options & {"--json", "--format"}) == (" ".join(path) not in SAY_NOTHING)


@pytest.mark.parametrize("command", sorted(SHOW_FACTS))
def test_what_is_personal_is_shown_when_asked_for_alone(command: str) -> None:
    """There is an option for it, and it is off."""
    (option,) = [each for each in EVERY[(*command.split(),)].params if "--show-personal" in each.opts]
    assert option.default is False


def test_the_version_is_one_line() -> None:
    """`msgxc --version` names the program and its version."""
    assert CliRunner().invoke(app, ["--version"]).output.startswith("msgxc 0.")


def test_a_token_is_printed_alone() -> None:
    """Nothing but the token on standard output; it says whom it stands for, and for how long."""
    CliRunner().invoke(app, ["keys", "make"])
    done = _run(
        "token",
        "--uid",
        "ann",
        "--role",
        "admin",
        "--role",
        "ops",
        "--realm",
        "acme",
        "--ttl",
        "30m",
        "--app",
        "A1",
    )
    token = done.stdout.removesuffix("\n")
    assert (done.returncode, done.stderr) == (0, "")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["roles"], claims["realm"]) == ("ann", ["admin", "ops"], "acme")
    assert (claims["exp"] - claims["iat"], claims["apps"]) == (1800, ["A1"])


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        (("--uid", "ann", "--realm", "x/y"), "realm"),
        (("--uid", "a\nb"), "printable"),
    ],
)
def test_a_token_that_would_be_refused_is_not_signed(claims: tuple[str, ...], word: str) -> None:
    """The line says what the exchange would say."""
    CliRunner().invoke(app, ["keys", "make"])
    done = _run("token", *claims)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr


def test_a_table_needs_a_folder() -> None:
    """Parquet does not go to standard output; the line says what to add."""
    CliRunner().invoke(app, ["keys", "make"])
    done = _run("events", "export", "--format", "parquet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "add --out FOLDER" in done.stderr


def test_a_token_needs_keys_that_somebody_believes() -> None:
    """Where no exchange has made keys, none are made for the token's sake; the line says where they come from."""
    done = _run("token", "--uid", "ann")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("msgxc: there are no keys in ")
    assert "start msgxc serve" in done.stderr
    assert not Path(".msgxc").exists()


def test_the_doctor_makes_nothing() -> None:
    """In an empty folder it says that nothing is there, and what to do; with --mend too."""
    done = _run("doctor", "--mend", "--json")
    [finding] = json.loads(done.stdout)
    assert (done.returncode, finding["state"], finding["about"]) == (1, "fail", "data")
    assert "msgxc serve" in finding["advice"]
    assert not Path(".msgxc").exists()


def test_a_channel_that_there_is_not_is_told_with_those_there_are() -> None:
    """Before anything is made or asked for."""
    done = _run("gateway", "fax")
    assert done.returncode == 2
    assert done.stderr == "msgxc: there is no channel fax; there are apns, email, fcm, sms, webpush\n"
    assert not Path(".msgxc").exists()


def test_documents_that_are_as_they_should_be_are_said_to_be() -> None:
    """Somebody who looks is told; a program gets an empty list."""
    _run("schema", "apply", "--folder", "schema")
    assert "all is well: schema is as the code says" in _run("schema", "check", "--folder", "schema").stderr
    assert _run("schema", "check", "--folder", "schema", "--json").stdout == "[]\n"


@pytest.mark.parametrize("ttl", ["", "1", "h", "0m", "-1h", "1w", "1.5h"])
def test_a_time_to_live_that_is_none_is_refused(ttl: str) -> None:
    """The refusal says how a time is written."""
    result = CliRunner().invoke(app, ["token", "--uid", "ann", f"--ttl={ttl}"])
    assert result.exit_code == 2
    assert "write 90s, 30m, 1h or 7d" in " ".join(result.output.split())


def test_help_answers_at_once() -> None:
    """Start-up stays under 0.3 s, measured beside a bare interpreter's so that a loaded machine does not fail it."""
    bare = min(_seconds("-c", "import typer") for _ in range(3))
    asked = min(_seconds("-m", "cli", "--help") for _ in range(3))
    assert asked < max(START_S_MAX, 3 * bare)


def test_a_token_says_until_when_it_is_good() -> None:
    """To programs that ask."""
    CliRunner().invoke(app, ["keys", "make"])
    said = json.loads(_run("token", "--uid", "ann", "--ttl", "366d", "--json").stdout)
    claims = jwt.decode(said["token"], options={"verify_signature": False})
    assert (
        datetime.fromisoformat(said["expires"]).timestamp() == claims["exp"] == claims["iat"] + 366 * 86_400
    )


def _seconds(*arguments: str) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, timeout=60)
    return time.perf_counter() - began_s
