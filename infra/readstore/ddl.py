"""The databases' schemas, made from the declared tables: for people and for `msgxc schema`, and for the stores.

Owns the text of every CREATE statement and the files in schema/sqlite and schema/cassandra. Never runs a statement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.readstore.shape import Shape
from projections.port import ColumnType, Table

SQLITE_TYPES: Mapping[ColumnType, str] = {
    "uuid": "BLOB",
    "text": "TEXT",
    "bigint": "INTEGER",
    "double": "REAL",
    "boolean": "INTEGER",
    "timestamp": "INTEGER",
    "blob": "BLOB",
    "json": "TEXT",
}
CASSANDRA_TYPES: Mapping[ColumnType, str] = {
    "uuid": "uuid",
    "text": "text",
    "bigint": "bigint",
    "double": "double",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "blob": "blob",
    "json": "text",
}

SQLITE_CONTROL = (
    """CREATE TABLE IF NOT EXISTS projections (
    projection TEXT PRIMARY KEY,
    live INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS generations (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    tables TEXT NOT NULL,
    PRIMARY KEY (projection, number)
) STRICT, WITHOUT ROWID""",
)
"""read/control.db: which generation of a projection is live, and what generations there are."""

SQLITE_CHECKPOINTS = """CREATE TABLE IF NOT EXISTS checkpoints (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID"""
"""In every generation's file, so that rows and checkpoint are one transaction."""

CASSANDRA_CONTROL = {
    "generations": """CREATE TABLE IF NOT EXISTS generations (
    scope text,
    projection text,
    number bigint,
    live bigint,
    state text,
    version bigint,
    created timestamp,
    tables text,
    PRIMARY KEY (scope, projection, number)
)""",
    "checkpoints": """CREATE TABLE IF NOT EXISTS checkpoints (
    projection text,
    number bigint,
    stream text,
    position bigint,
    epoch text,
    digest text,
    PRIMARY KEY ((projection, number), stream)
)""",
}
"""The tables every keyspace has."""


def sqlite_table(shape: Shape) -> str:
    """Each cell has its position beside it (`x__at`), each row those of its newest put and delete.

    Rows that belong together lie together, in the order of their key. Where each row stands alone (no clustering) they
    lie as they came, and an index finds them: keys are random, so that each would have its own page to be read, changed
    and written, which made a rebuild of `messages` the slower the more there were. So do those of a table that asks for
    it: the wider the rows, the more SQLite does to keep them in order, a fifth of what it does with deliveries.
    """
    table = shape.table
    lines = [f'"{name}" {SQLITE_TYPES[shape.types[name]]} NOT NULL' for name in shape.key_names]
    for name in shape.columns:
        lines.append(f'"{name}" {SQLITE_TYPES[shape.types[name]]}')
        lines.append(f'"{name}__at" INTEGER NOT NULL DEFAULT 0')
    lines += ["row__at INTEGER NOT NULL DEFAULT 0", "row__gone INTEGER NOT NULL DEFAULT 0"]
    lines.append(f"PRIMARY KEY ({_names(shape.key_names)})")
    kind = "STRICT, WITHOUT ROWID" if shape.clustering and not table.as_they_come else "STRICT"
    return f'CREATE TABLE IF NOT EXISTS "{table.name}" (\n    {_lines(lines)}\n) {kind}'


def cassandra_table(shape: Shape, name: str | None = None) -> str:
    """name: with the generation's number; without, as in the files of schema/."""
    order = "DESC" if shape.table.newest_first else "ASC"
    lines = [f'"{column}" {cassandra_type(shape, column)}' for column in shape.types]
    clustering = f", {_names(shape.clustering)}" if shape.clustering else ""
    lines.append(f"PRIMARY KEY (({_names(shape.partition)}){clustering})")
    by = ", ".join(f'"{column}" {order}' for column in shape.clustering)
    ordered = f" WITH CLUSTERING ORDER BY ({by})" if by else ""
    return f'CREATE TABLE IF NOT EXISTS "{name or shape.table.name}" (\n    {_lines(lines)}\n){ordered}'


def cassandra_type(shape: Shape, column: str) -> str:
    # Cassandra sorts its uuid type by version before the bytes: within a partition only a blob sorts as elsewhere.
    if column in shape.clustering and shape.types[column] == "uuid":
        return "blob"
    return CASSANDRA_TYPES[shape.types[column]]


def cassandra_keyspace(name: str, *, rf: int, dc: str) -> str:
    """With no `dc`: one data centre of any name."""
    place = f"'class': 'NetworkTopologyStrategy', '{dc}': {rf}"
    if not dc:
        place = f"'class': 'NetworkTopologyStrategy', 'replication_factor': {rf}"
    return f'CREATE KEYSPACE IF NOT EXISTS "{name}" WITH replication = {{{place}}}'


def documents(tables: Iterable[Table]) -> dict[str, str]:
    """Path under schema/ and content of every file that `tables` lead to. ValueError: a name is used twice."""
    by_projection: dict[str, list[Shape]] = defaultdict(list)
    names: set[str] = set()
    for table in tables:
        # All projections share one Cassandra keyspace.
        if table.name in names or table.name in CASSANDRA_CONTROL:
            raise ValueError(f"two tables are called {table.name}")
        names.add(table.name)
        by_projection[table.projection].append(Shape(table))
    files = {
        "sqlite/control.sql": _document("Which generation is live.", SQLITE_CONTROL),
        "cassandra/control.cql": _document(
            "Which generation is live, and where each stands in the streams.", CASSANDRA_CONTROL.values()
        ),
    }
    for projection, shapes in by_projection.items():
        one_file = f"One file per generation of the projection {projection}: read/{projection}-<number>.db."
        each_name = f"Projection {projection}. The tables of a generation end in _g<number>."
        sqlite = [sqlite_table(shape) for shape in shapes]
        files[f"sqlite/{projection}.sql"] = _document(one_file, [*sqlite, SQLITE_CHECKPOINTS])
        cassandra = [cassandra_table(shape) for shape in shapes]
        files[f"cassandra/{projection}.cql"] = _document(each_name, cassandra)
    return files


def write(root: Path, tables: Iterable[Table]) -> None:
    """Bring schema/ (`root`) up to date; files that no table leads to are removed."""
    files = documents(tables)
    for path in _present(root) - files.keys():
        (root / path).unlink()
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")


def drift(root: Path, tables: Iterable[Table]) -> list[str]:
    """What differs between schema/ and the declared tables: one sentence a file, none when all is well."""
    files, present = documents(tables), _present(root)
    wrong = [f"{path} belongs to no table" for path in sorted(present - files.keys())]
    for path, content in files.items():
        if path not in present:
            wrong.append(f"{path} is missing")
        elif (root / path).read_text(encoding="utf-8") != content:
            wrong.append(f"{path} is not what the declared tables give")
    return wrong


def _present(root: Path) -> set[str]:
    found = [*root.glob("sqlite/*.sql"), *root.glob("cassandra/*.cql")]
    return {path.relative_to(root).as_posix() for path in found}


def _document(about: str, statements: Iterable[str]) -> str:
    body = "\n\n".join(f"{statement};" for statement in statements)
    return f"-- Generated from the declared tables: `msgxc schema apply`.\n-- {about}\n\n{body}\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _lines(lines: Iterable[str]) -> str:
    return ",\n    ".join(lines)
