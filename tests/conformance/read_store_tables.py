"""Tables and writes for the conformance suite of the read stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from projections.port import Delete, Key, Put, PutMany, Table, Write

PROJECTION = "samples"

WIDE = Table(
    projection=PROJECTION,
    name="wide",
    partition={"realm": "text", "bucket": "bigint"},
    clustering={"number": "bigint", "name": "text"},
    columns={
        "id": "uuid",
        "words": "text",
        "count": "bigint",
        "share": "double",
        "open": "boolean",
        "since": "timestamp",
        "raw": "blob",
        "settings": "json",
    },
)
"""A column of each type, oldest first."""

NEWEST = Table(
    projection=PROJECTION,
    name="newest",
    partition={"realm": "text"},
    clustering={"id": "uuid", "since": "timestamp", "open": "boolean"},
    columns={"words": "text", "count": "bigint"},
    newest_first=True,
)

SINGLE = Table(
    projection=PROJECTION,
    name="single",
    partition={"realm": "text", "id": "uuid", "raw": "blob"},
    columns={"words": "text", "from": "bigint"},
)
"""No clustering: a row is a partition. `from` is a reserved word of both databases."""

TABLES = (WIDE, NEWEST, SINGLE)

START = datetime(2026, 1, 1, tzinfo=UTC)

# Few of each, so that rows meet; among them what sorts differently as bytes, as numbers and by UUID version.
IDS = [UUID(text * 4) for text in ("00000000", "0fff1fff", "0fff8fff", "ffff1fff", "ffff8fff", "7f00800f")]
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "uuid": st.sampled_from(IDS),
    "text": st.sampled_from(["", "a", "B", "a\u0000b", "é", "\uffff", "\U0001f600", "zz"]),
    "bigint": st.sampled_from([-(2**63), -1, 0, 1, 255, 256, 2**63 - 1]),
    "boolean": st.booleans(),
    "timestamp": st.sampled_from([START + timedelta(milliseconds=ms) for ms in (-1, 0, 1, 86_400_000)]),
    "blob": st.sampled_from([b"", b"\x00", b"\x7f", b"\x80", b"\xff\x00"]),
    "double": st.sampled_from([-1.5, -0.0, 0.1, 1e300, float("inf")]),
    "json": st.sampled_from([[], {"b": 1, "a": [None, 2.5]}, "text", 0, False, {"é": "\u0000"}]),
}
POSITIONS = st.integers(1, 12)


def value(kind: str) -> st.SearchStrategy[Any]:
    return st.none() | OF_TYPE[kind]


@st.composite
def keys(draw: st.DrawFn, table: Table, realm: str) -> Key:
    rest = [*list(table.partition.values())[1:], *table.clustering.values()]
    return (realm, *(draw(OF_TYPE[kind]) for kind in rest))


@st.composite
def pools(draw: st.DrawFn, table: Table, realm: str) -> list[Key]:
    """A few keys in one or two partitions, so that writes meet in rows and rows in partitions."""
    width = len(table.partition)
    partitions = draw(st.lists(keys(table, realm), min_size=1, max_size=2))
    rests = draw(st.lists(keys(table, realm), min_size=1, max_size=4))
    return [
        (*one[:width], *other[width:])
        for one in (partitions if table.clustering else rests)
        for other in rests
    ]


@st.composite
def writes(draw: st.DrawFn, pool: Mapping[str, list[Key]]) -> Put | Delete:
    table = draw(st.sampled_from(TABLES))
    key, position = draw(st.sampled_from(pool[table.name])), draw(POSITIONS)
    if draw(st.integers(0, 4)) == 0:
        return Delete(table, key, position)
    names = draw(st.lists(st.sampled_from(sorted(table.columns)), unique=True))
    return Put(table, key, {name: draw(value(table.columns[name])) for name in names}, position)


class History:
    """What was written: one position gives a cell one value, so a write that would differ becomes the earlier one."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, Key, int, str], Any] = {}
        self.writes: list[Put | Delete] = []

    def add(self, write: Put | Delete) -> Put | Delete:
        if isinstance(write, Put):
            place = (write.table.name, write.key, write.position)
            values = {name: self._cells.setdefault((*place, name), new) for name, new in write.values.items()}
            write = Put(write.table, write.key, values, write.position)
        self.writes.append(write)
        return write


def together(writes: Iterable[Put | Delete]) -> list[Write]:
    """The same page, with one write for all puts of a table, a position and the same columns."""
    alike: dict[tuple[str, int, tuple[str, ...]], list[Put]] = {}
    page: list[Write] = []
    for write in writes:
        if isinstance(write, Put):
            alike.setdefault((write.table.name, write.position, tuple(write.values)), []).append(write)
        else:
            page.append(write)
    return page + [_many(puts) for puts in alike.values()]


def _many(puts: Sequence[Put]) -> PutMany:
    """What the first row shares with all others is said once; of the key that never is the last part."""
    table = puts[0].table
    names = (*table.partition, *table.clustering)
    rows = [{**dict(zip(names, put.key, strict=True)), **put.values} for put in puts]
    own = {name for row in rows for name in row if row[name] is not rows[0][name]} | {names[-1]}
    return PutMany(
        table,
        {name: value for name, value in rows[0].items() if name not in own},
        {name: [row[name] for row in rows] for name in sorted(own)},
        puts[0].position,
    )
