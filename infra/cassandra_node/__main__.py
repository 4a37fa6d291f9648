"""`python -m infra.cassandra_node`: a node in the foreground, until Ctrl-C, SIGTERM, or the end of another process.

Prints `READY host:port` when it answers.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import tempfile
from pathlib import Path

from infra.cassandra_node.jars import NoCassandraError
from infra.cassandra_node.node import CassandraNode


class Stop(BaseException):
    """SIGTERM or Ctrl-C."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.cassandra_node", description=__doc__)
    parser.add_argument("--port", type=int, default=9042, help="of CQL; 0 for any free one")
    parser.add_argument("--data", type=Path, help="folder that is kept; without it a temporary one")
    parser.add_argument("--with-process", type=int, help="end when the process of this id ends")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        if given.data:
            run(given.data, given.port, given.with_process)
            return
        with tempfile.TemporaryDirectory(prefix="cassandra-", ignore_cleanup_errors=True) as folder:
            run(Path(folder), given.port, given.with_process)
    except NoCassandraError as error:
        sys.exit(str(error))
    except Stop:
        return


def run(folder: Path, port: int, other: int | None) -> None:
    with CassandraNode(folder, port=port) as node:
        sys.stdout.write(f"READY {node.host}:{node.port}\n")
        sys.stdout.flush()
        _wait(other)


def _wait(other: int | None) -> None:
    """For a signal, or for the end of the other process."""
    if other is None:
        signal.pause()
        return
    try:
        ended = os.pidfd_open(other)
    except ProcessLookupError:
        return
    select.select([ended], [], [])


def _stop(*_: object) -> None:
    raise Stop


if __name__ == "__main__":
    main()
