"""Which read store is opened. Never imports a driver: the one that is chosen is loaded then."""

from __future__ import annotations

from pathlib import Path

from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.store import ReadStore


def read_store(folder: Path, cassandra: CassandraConfig | None = None) -> ReadStore:
    """Not open yet. folder: of the SQLite files, `<data>/read`; with `cassandra` it is not used."""
    if cassandra is not None:
        from infra.readstore.cassandra.store import CassandraReadStore

        return CassandraReadStore(cassandra)
    from infra.readstore.sqlite.store import SqliteReadStore

    return SqliteReadStore(folder)
