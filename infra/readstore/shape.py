"""A declared table, checked and made ready: keys and values to stored form, stored rows to dicts.

Both backends work on shapes. Owns the rules of a declaration; never builds a statement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from domain.errors import Unavailable
from infra.readstore.cells import DECODERS, ENCODERS, Stored, column, read_column
from projections.port import ColumnType, Key, Put, Row, Table

ROWS_MAX = 10_000
"""Rows of one read: about 10 MB of what a person would page through; more is a scan."""

KEYS_MAX = 10_000
"""Keys or partitions of one read, for the same reason."""

_NAME = re.compile(r"[a-z](?:[a-z0-9]|_(?!_)){0,39}")
"""Room for `_g<number>` within Cassandra's 48 characters; `__` marks the columns SQLite adds."""

_OWN_NAMES = frozenset({"row__at", "row__gone"})
_VALUES_ONLY = frozenset({"json", "double"})


class Shape:
    """One table. The declaration is checked: ValueError says what is wrong with it."""

    __slots__ = ("_key", "clustering", "columns", "key_names", "partition", "table", "types")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.partition = tuple(table.partition)
        self.clustering = tuple(table.clustering)
        self.columns = tuple(table.columns)
        self.key_names = self.partition + self.clustering
        self.types: Mapping[str, ColumnType] = {**table.partition, **table.clustering, **table.columns}
        check(table)
        self._key = tuple(ENCODERS[self.types[name]] for name in self.key_names)

    def key(self, key: Key) -> tuple[Stored, ...]:
        """A whole key in stored form. ValueError if a part is missing or of the wrong type."""
        return tuple([encode(value) for encode, value in zip(self._key, key, strict=True)])

    def partition_key(self, partition: Key) -> tuple[Stored, ...]:
        encoders = self._key[: len(self.partition)]
        return tuple([encode(value) for encode, value in zip(encoders, partition, strict=True)])

    def partition_keys(self, partitions: Sequence[Key]) -> list[tuple[Stored, ...]]:
        """Many of them in stored form: column by column, half the time of one by one."""
        if set(map(len, partitions)) - {len(self.partition)}:
            raise ValueError(f"{self.table.name}: a partition has {len(self.partition)} parts")
        parts = zip(*partitions, strict=True)
        encoded = [column(self.types[name], part) for name, part in zip(self.partition, parts, strict=False)]
        if any(None in part for part in encoded):
            raise ValueError(f"{self.table.name}: a part of a partition's key is missing")
        return list(zip(*encoded, strict=True))

    def clustering_prefix(self, prefix: Key) -> tuple[Stored, ...]:
        """The first one or more clustering values."""
        if not 1 <= len(prefix) <= len(self.clustering):
            raise ValueError(f"{self.table.name}: {len(prefix)} clustering values were given")
        encoders = self._key[len(self.partition) :]
        return tuple([encode(value) for encode, value in zip(encoders, prefix, strict=False)])

    def key_columns(self, keys: Sequence[Key]) -> list[Sequence[Stored]]:
        """The keys of many rows in stored form, a column each."""
        if set(map(len, keys)) != {len(self.key_names)}:
            raise ValueError(f"{self.table.name}: a key has {len(self.key_names)} parts")
        encoded = [
            column(self.types[name], part)
            for name, part in zip(self.key_names, zip(*keys, strict=True), strict=True)
        ]
        if any(None in part for part in encoded):
            raise ValueError(f"{self.table.name}: a part of a key is missing")
        return encoded

    def value_columns(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> list[Sequence[Stored]]:
        """The values of many rows, each in the order of `names`, as columns."""
        if unknown := set(names) - self.table.columns.keys():
            raise ValueError(f"{self.table.name} has no column {unknown}")
        return [
            column(self.types[name], part)
            for name, part in zip(names, zip(*values, strict=True), strict=True)
        ]

    def cells(self, values: Mapping[str, Any]) -> dict[str, Stored]:
        """Parts of a key, and values."""
        self._check_names(values)
        return {
            name: None if value is None else ENCODERS[self.types[name]](value)
            for name, value in values.items()
        }

    def cell_columns(self, values: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Stored]]:
        """The same of many rows, as columns."""
        self._check_names(values)
        return {name: column(self.types[name], part) for name, part in values.items()}

    def _check_names(self, names: Iterable[str]) -> None:
        if unknown := set(names).difference(self.types):
            raise ValueError(f"{self.table.name} has no column {unknown}")

    def canonical(self, row: Row) -> bytes:
        """The same bytes for the same row, whichever store it came from."""
        stored = [
            None if (value := row[name]) is None else ENCODERS[kind](value)
            for name, kind in self.types.items()
        ]
        return msgspec.msgpack.encode(stored)


class RowReader:
    """Stored rows to dicts, as `asked`, from a table built as `built`: what it lacks is read as None."""

    __slots__ = ("_coded", "_row", "_statements", "columns", "names", "shape")

    def __init__(self, asked: Table, built: Table | None) -> None:
        if built is None or not _same_keys(asked, built):
            raise Unavailable(f"the read model {asked.projection} is being rebuilt")
        self.shape = Shape(asked)
        kept = {name for name, kind in asked.columns.items() if built.columns.get(name) == kind}
        self.columns = tuple(name for name in self.shape.columns if name in kept)
        self.names = self.shape.key_names + self.columns
        missing = [(name, object, None) for name in self.shape.columns if name not in kept]
        self._row = msgspec.defstruct("Row", [*((name, object) for name in self.names), *missing])
        types = self.shape.types
        self._coded = [
            (place, types[name]) for place, name in enumerate(self.names) if types[name] in DECODERS
        ]
        self._statements: dict[object, str] = {}

    def rows(self, stored: Sequence[Sequence[Any]], head: Sequence[Stored] = ()) -> list[Row]:
        """From rows of values in the order of `names`, after those of `head`, which are the same for all of them.

        Column by column, twice as fast as row by row.
        """
        if not stored:
            return []
        columns: list[Sequence[Any]] = [[cell] for cell in head]
        columns += zip(*stored, strict=True)
        for place, kind in self._coded:
            columns[place] = read_column(kind, columns[place])
        for place in range(len(head)):
            columns[place] = [columns[place][0]] * len(stored)
        # Hot path: a struct's fields are a dict in half the time that names and values together take.
        return list(map(msgspec.structs.asdict, map(self._row, *columns)))

    def groups(
        self, stored: Sequence[Sequence[Sequence[Any]]], head: Sequence[Stored] = ()
    ) -> list[list[Row]]:
        """As `rows` of each group, read all at once: most groups are a row or two."""
        read = iter(self.rows(list(chain.from_iterable(stored)), head))
        return [list(islice(read, len(group))) for group in stored]

    def statement(self, name: object, made: Callable[[], str]) -> str:
        """A statement for this reader, kept once made."""
        text = self._statements.get(name)
        if text is None:
            text = self._statements[name] = made()
        return text


class RowReaders:
    """The row readers of one generation, made when a table is first asked for."""

    def __init__(self, built: Iterable[Table]) -> None:
        self._built = {table.name: table for table in built}
        self._made: dict[tuple[str, ...], tuple[Table, RowReader]] = {}

    def of(self, table: Table) -> RowReader:
        name = (table.name, *table.columns)  # some read a few columns of a table alone
        known = self._made.get(name)
        if known is None or known[0] is not table:
            known = table, RowReader(table, self._built.get(table.name))
            self._made[name] = known
        return known[1]


def _same_keys(one: Table, other: Table) -> bool:
    return (
        list(one.partition.items()) == list(other.partition.items())
        and list(one.clustering.items()) == list(other.clustering.items())
        and one.newest_first == other.newest_first
    )


def check(table: Table) -> None:
    """ValueError when a declaration can't be kept on every backend."""
    names = [*table.partition, *table.clustering, *table.columns]
    wrong = [name for name in (table.projection, table.name, *names) if not _NAME.fullmatch(name)]
    if wrong or len(set(names)) < len(names) or _OWN_NAMES & set(names):
        raise ValueError(f"{table.name}: names must be short, lower case and different: {wrong or names}")
    if not table.partition or not table.columns:
        raise ValueError(f"{table.name}: a table needs a partition key and columns")
    keys = {**table.partition, **table.clustering}
    if bad := [name for name, kind in keys.items() if kind in _VALUES_ONLY]:
        raise ValueError(
            f"{table.name}: {bad} can't be part of a key: their order is not the same everywhere"
        )


def check_positions(positions: Sequence[int]) -> None:
    if min(positions) < 1:
        raise ValueError("a position is at least 1")


def check_ties(puts: Iterable[Put]) -> None:
    """ValueError if one fact gives a cell two values: the backends would not agree which of them stays."""
    seen: dict[tuple[str, Key, int], dict[str, Any]] = {}
    for put in puts:
        values = seen.setdefault((put.table.name, tuple(put.key), put.position), {})
        for name, value in put.values.items():
            if values.setdefault(name, value) != value:
                raise ValueError(f"{put.table.name}.{name} is given two values at {put.position}")


def check_names(projection: str, tables: Sequence[Table]) -> None:
    """ValueError unless these can be the tables of one projection."""
    for table in tables:
        check(table)
    if any(table.projection != projection for table in tables):
        raise ValueError(f"a table of another projection among those of {projection}")
    if len({table.name for table in tables}) < len(tables):
        raise ValueError(f"{projection} has two tables of one name")


def check_limit(limit: int) -> None:
    if not 1 <= limit <= ROWS_MAX:
        raise ValueError(f"a read is of 1 to {ROWS_MAX} rows, not {limit}")


def check_count(keys: Sequence[Key]) -> None:
    if len(keys) > KEYS_MAX:
        raise ValueError(f"a read is of up to {KEYS_MAX} keys, not {len(keys)}")


def declaration(tables: Iterable[Table]) -> str:
    """The tables of a generation as text, to be kept beside it."""
    return msgspec.json.encode(sorted(tables, key=lambda table: table.name)).decode()


def declared(text: str) -> list[Table]:
    return msgspec.json.decode(text, type=list[Table])


def same_tables(some: Iterable[Table], others: Iterable[Table]) -> bool:
    """Whether rows of the one are rows of the other; the order of value columns says nothing."""
    one, other = ({table.name: table for table in tables} for tables in (some, others))
    return one.keys() == other.keys() and all(
        _same_keys(table, other[name]) and dict(table.columns) == dict(other[name].columns)
        for name, table in one.items()
    )


class Digest:
    """Adds up rows in any order: their number, and the sum of their SHA-256 modulo 2^256.

    A sum, not an exclusive or: a row that is there twice must show.
    """

    __slots__ = ("_sum", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, canonical: bytes) -> None:
        self.rows += 1
        self._sum += int.from_bytes(hashlib.sha256(canonical).digest())

    def hexdigest(self) -> str:
        return f"{self._sum % 2**256:064x}"


async def digest_of(pages: AsyncIterator[list[Row]], shape: Shape) -> tuple[int, str]:
    digest = Digest()
    async for page in pages:
        for row in page:
            digest.add(shape.canonical(row))
    return digest.rows, digest.hexdigest()
