"""Where Cassandra's jars can't run, the tests' node is a container: what the engine is told, in which order.

The engine is a program that keeps a list of what it was told and answers as Docker's own does; what it "runs" speaks
as much CQL as its readiness is asked by.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from infra.cassandra_node.node import speaks_cql
from tests.fixtures.cassandra_keeper import IMAGE, State

ROOT = Path(__file__).parents[3]
WAIT_S_MAX = 30.0

DOCKER = """#!{python}
import pathlib, subprocess, sys
folder, (command, *rest) = pathlib.Path(__file__).parent, sys.argv[1:]
with (folder / "told").open("a") as told:
    print(command, *rest, file=told)
match command:
    case "info":
        sys.exit((folder / "down").exists())
    case "run":
        node = subprocess.Popen(
            [sys.executable, folder / "node.py"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        (folder / "port").write_bytes(node.stdout.readline())
        (folder / "pid").write_text(str(node.pid))
        print("Unable to find image locally", file=sys.stderr)
        print("c0ffee")
    case "port":
        print("127.0.0.1:" + (folder / "port").read_text().strip())
"""

NODE = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
server.accept()[0].close()  # as an engine's proxy does, while nothing listens behind it
while True:
    connection, _ = server.accept()
    if connection.recv(9)[4:5] == b"\\x05":  # OPTIONS
        connection.sendall(bytes([0x84, 0, 0, 0, 6, 0, 0, 0, 0]))  # SUPPORTED
    connection.close()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """The folder of `docker`, the only program on the keeper's PATH: there is no Java."""
    folder = tmp_path / "bin"
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.chmod(0o755)
    (folder / "node.py").write_text(NODE)
    yield folder
    if (folder / "pid").exists():
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


@contextmanager
def keeper(engine: Path) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], Path]]:
    """It, the process it keeps the node for, and where it tells of the node."""
    state = engine.parent / "state.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as tests:
        command = [sys.executable, "-m", "tests.fixtures.cassandra_keeper", str(state), str(tests.pid)]
        with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PATH": str(engine)}) as process:
            try:
                yield process, tests, state
            finally:
                process.kill()
                tests.kill()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_container_is_run_and_removed(engine: Path) -> None:
    """Run on a free port of loopback with a small heap, told of when it speaks CQL, removed when the tests end."""
    with keeper(engine) as (process, tests, state):
        until(state.exists)
        port = int((engine / "port").read_text())
        assert msgspec.json.decode(state.read_bytes(), type=State) == State(port=port)
        assert speaks_cql("127.0.0.1", port)
        tests.kill()
        assert process.wait(WAIT_S_MAX) == 0
    assert (engine / "told").read_text().splitlines() == [
        "info",
        f"run --rm -d -p 127.0.0.1::9042 -e MAX_HEAP_SIZE=512M -e HEAP_NEWSIZE=100M {IMAGE}",
        "port c0ffee 9042/tcp",
        "rm -f c0ffee",
    ]


def test_an_engine_that_does_not_answer_is_none(engine: Path) -> None:
    """Then it is told what is missing, of the jars and of the engine, and nothing is run."""
    (engine / "down").touch()
    with keeper(engine) as (process, _, state):
        assert process.wait(WAIT_S_MAX) == 0
        told = msgspec.json.decode(state.read_bytes(), type=State)
    assert "no java on the PATH" in told.missing
    assert "no Docker engine answers" in told.missing
    assert (engine / "told").read_text().splitlines() == ["info"]
