"""Schemas from the declared tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from infra.readstore import ddl
from projections.catalogue import ALL
from projections.port import Table

SCHEMA = Path(__file__).parents[4] / "schema"
TABLES = [table for projection in ALL for table in projection.tables]


def sample(**changes: object) -> Table:
    fields: dict[str, object] = {
        "projection": "samples",
        "name": "samples",
        "partition": {"realm": "text"},
        "columns": {"words": "text"},
    }
    return Table(**{**fields, **changes})  # type: ignore[arg-type]  # some of them are wrong on purpose


def test_the_schemas_are_those_of_the_declared_tables() -> None:
    """schema/ holds what the read models declare; `msgxc schema apply` brings it up to date."""
    assert ddl.drift(SCHEMA, TABLES) == []


def test_drift_names_each_file(tmp_path: Path) -> None:
    """A changed, a missing and a left-over file are each told; writing mends them."""
    ddl.write(tmp_path, [sample()])
    assert ddl.drift(tmp_path, [sample()]) == []
    (tmp_path / "sqlite/control.sql").write_text("changed")
    (tmp_path / "cassandra/control.cql").unlink()
    (tmp_path / "cassandra/old.cql").write_text("old")
    assert ddl.drift(tmp_path, [sample()]) == [
        "cassandra/old.cql belongs to no table",
        "sqlite/control.sql is not what the declared tables give",
        "cassandra/control.cql is missing",
    ]
    ddl.write(tmp_path, [sample()])
    assert ddl.drift(tmp_path, [sample()]) == []


def test_the_sqlite_files_run() -> None:
    """Every SQLite schema is accepted as it stands."""
    files = sorted(SCHEMA.glob("sqlite/*.sql"))
    assert len(files) == len(ALL) + 1
    for file in files:
        connection = sqlite3.connect(":memory:")
        connection.executescript(file.read_text())
        connection.close()


def test_two_projections_share_no_table_name() -> None:
    """All of them live in one Cassandra keyspace, with the store's own tables."""
    for other in (sample(projection="others"), sample(projection="others", name="checkpoints")):
        with pytest.raises(ValueError, match="called"):
            ddl.documents([sample(), other])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Samples"},
        {"name": "s; DROP TABLE x"},
        {"name": "s" * 41},
        {"columns": {"words__at": "text"}},
        {"columns": {"row__at": "text"}},
        {"columns": {"realm": "text"}},
        {"columns": {}},
        {"partition": {}},
        {"partition": {"realm": "json"}},
        {"clustering": {"share": "double"}},
    ],
)
def test_a_declaration_that_no_store_can_keep_is_refused(changes: dict[str, object]) -> None:
    """Names that need care, columns that collide, key types without one order everywhere."""
    with pytest.raises(ValueError, match=r"samples|[Ss]"):
        ddl.documents([sample(**changes)])


def test_the_keyspace_knows_its_data_centre() -> None:
    """With a data centre replicas are counted there; without one, in whichever there is."""
    assert "'dc1': 3" in ddl.cassandra_keyspace("k", rf=3, dc="dc1")
    assert "'replication_factor': 1" in ddl.cassandra_keyspace("k", rf=1, dc="")
