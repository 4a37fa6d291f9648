"""A Cassandra node as a child process: ready when it speaks CQL, gone when it is stopped or its parent dies.

Owns the process and its ports. The folder and its content are the caller's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.cassandra_node import settings
from infra.cassandra_node.jars import CACHE, NoCassandraError, jars, java

READY_S_MAX = 120.0
"""Six to nine seconds on an idle machine; a busy one gets a lot of patience."""

STOP_S_MAX = 20.0
LOOK_EVERY_S = 0.1
_PR_SET_PDEATHSIG = 1


class CassandraNode:
    """One node on `host`. port 0: any free one. folder: made if missing; a second start finds its data.

    seed: another node's `address`, to be in its cluster. more: settings over the node's own, as in cassandra.yaml.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: str = "",
        more: Mapping[str, object] | None = None,
        cache: Path = CACHE,
    ) -> None:
        self.host = host
        self.folder = folder.absolute()
        native, storage, jmx = _free_ports(host, 3)
        self._ports = settings.Ports(native=port or native, storage=storage, jmx=jmx)
        self._seed = seed or self.address
        self._more = more or {}
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports.native

    @property
    def address(self) -> str:
        """Where other nodes of its cluster find it."""
        return f"{self.host}:{self._ports.storage}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the node answers CQL. NoCassandraError: it can't run here, or did not come up."""
        program, class_path = java(), jars(self._cache)
        settings.write(self.folder, self.host, self._ports, seed=self._seed, more=self._more)
        with (self.folder / "stdout.log").open("wb") as out:
            self._process = subprocess.Popen(
                settings.command(program, class_path, self.folder, self._ports),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "MALLOC_ARENA_MAX": "2"},
                preexec_fn=_die_with_parent,  # noqa: PLW1509  one call of the kernel, no locks
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + READY_S_MAX
        while not speaks_cql(self.host, self.port):
            if process.poll() is not None:
                raise NoCassandraError(f"Cassandra ended with {process.returncode}: {self._last_words()}")
            if time.monotonic() > end:
                raise NoCassandraError(
                    f"Cassandra was not ready in {READY_S_MAX:.0f} s: {self._last_words()}"
                )
            time.sleep(LOOK_EVERY_S)

    def _last_words(self) -> str:
        said = (self.folder / "stdout.log").read_text(encoding="utf-8", errors="replace")
        return said.strip()[-800:] or "it said nothing"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def speaks_cql(host: str, port: int) -> bool:
    """OPTIONS of protocol v4, answered by SUPPORTED: more than an open port."""
    try:
        with socket.create_connection((host, port), 1.0) as connection:
            connection.sendall(struct.pack(">BBhBi", 4, 0, 0, 5, 0))
            header = connection.recv(9)
    except OSError:
        return False
    return len(header) == 9 and header[4] == 6


def _die_with_parent() -> None:
    # Linux only; elsewhere a node whose parent was killed has to be stopped by hand.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(host: str, number: int) -> list[int]:
    """All held at once, so that they differ."""
    sockets = [socket.create_server((host, 0)) for _ in range(number)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
