"""`python -m infra.cassandra_node`: a node in the foreground, until Ctrl-C or SIGTERM.

Prints `READY host:port` when it answers.
"""

from __future__ import annotations

import argparse
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
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        if given.data:
            run(given.data, given.port)
            return
        with tempfile.TemporaryDirectory(prefix="cassandra-", ignore_cleanup_errors=True) as folder:
            run(Path(folder), given.port)
    except NoCassandraError as error:
        sys.exit(str(error))
    except Stop:
        return


def run(folder: Path, port: int) -> None:
    with CassandraNode(folder, port=port) as node:
        sys.stdout.write(f"READY {node.host}:{node.port}\n")
        sys.stdout.flush()
        signal.pause()


def _stop(*_: object) -> None:
    raise Stop


if __name__ == "__main__":
    main()
