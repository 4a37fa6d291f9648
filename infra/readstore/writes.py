"""A page of writes, put in order for a database: puts by table and columns, deletes by table, all in stored form.

Both backends write pages. Owns the checks before anything is written; ValueError is a bug of the projection, and then
nothing of the page is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from infra.readstore.cells import Stored
from infra.readstore.shape import Shape, check_positions, check_ties
from projections.port import Delete, Put, PutMany, Table, Write, singly

POSITION = "row__at"
"""Names the positions of a page's rows; no column of a table can be called so."""

SHARED_MIN = 64
"""Rows of one write that are worth statements of their own, in which what they share is said once. Fewer are put
together with those of other writes.
"""

Columns = Mapping[str, Sequence[Stored]]


class Puts(msgspec.Struct, frozen=True):
    """Rows of key, values of `columns` and position: the cells that all of them share, and the others as columns."""

    shape: Shape
    columns: tuple[str, ...]
    same: Mapping[str, Stored]
    own: Columns

    def __len__(self) -> int:
        return len(next(iter(self.own.values())))

    def cells(self, name: str) -> Sequence[Stored]:
        """One for each row."""
        return self.own[name] if name in self.own else [self.same[name]] * len(self)


class Deletes(msgspec.Struct, frozen=True):
    """Rows of key and position, as columns."""

    shape: Shape
    own: Columns

    def cells(self, name: str) -> Sequence[Stored]:
        return self.own[name]


class WritePlanner:
    """For the tables of one generation."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._shapes: Mapping[str, Shape] = {table.name: Shape(table) for table in tables}

    def plan(self, writes: Sequence[Write]) -> list[Puts | Deletes]:
        """In any order, since the order of writes never matters."""
        puts: dict[tuple[str, ...], list[Put]] = {}
        deletes: dict[str, list[Delete]] = {}
        many: list[PutMany] = []
        for write in writes:
            if isinstance(write, PutMany):
                many += [write] if any(write.own.values()) else []
            elif isinstance(write, Delete):
                deletes.setdefault(write.table.name, []).append(write)
            else:
                puts.setdefault((write.table.name, *write.values), []).append(write)
        pages = [self._puts(name, columns, page) for (name, *columns), page in puts.items()]
        pages += map(self._many, many)
        self._check_ties(pages, writes)
        return [*pages, *(self._deletes(name, page) for name, page in deletes.items())]

    def _puts(self, name: str, columns: Sequence[str], page: Sequence[Put]) -> Puts:
        shape = self._shape(name)
        values = shape.value_columns(columns, [tuple(put.values.values()) for put in page])
        own = {**self._keys(shape, page), **dict(zip(columns, values, strict=True))}
        return Puts(shape, tuple(columns), {}, own)

    def _many(self, write: PutMany) -> Puts:
        """Hot path: column by column as it is given; what all rows share is brought into stored form once."""
        shape = self._shape(write.table.name)
        check_positions([write.position])
        same, own = shape.cells(write.same), shape.cell_columns(write.own)
        if any(None in own.get(name, (same.get(name),)) for name in shape.key_names):
            raise ValueError(f"{shape.table.name}: a part of a key is missing")
        if len(set(map(len, own.values()))) > 1:
            raise ValueError(f"{shape.table.name}: a column is shorter or longer than another")
        columns = tuple(name for name in (*same, *own) if name in shape.table.columns)
        page = Puts(shape, columns, {**same, POSITION: write.position}, own)
        if len(page) < SHARED_MIN:
            page = Puts(shape, columns, {}, {name: page.cells(name) for name in (*page.same, *own)})
        return page

    def _keys(self, shape: Shape, page: Sequence[Put] | Sequence[Delete]) -> dict[str, Sequence[Stored]]:
        positions = [write.position for write in page]
        check_positions(positions)
        keys = shape.key_columns([write.key for write in page])
        return {**dict(zip(shape.key_names, keys, strict=True)), POSITION: positions}

    def _check_ties(self, pages: Sequence[Puts], writes: Sequence[Write]) -> None:
        """Hot path: that no row is written twice by one fact shows in stored form, in a tenth of the time."""
        places: dict[str, list[tuple[Stored, ...]]] = {}
        for page in pages:
            names = (*page.shape.key_names, POSITION)
            places.setdefault(page.shape.table.name, []).extend(zip(*map(page.cells, names), strict=True))
        if any(len(set(rows)) < len(rows) for rows in places.values()):
            check_ties(put for put in singly(writes) if isinstance(put, Put))

    def _deletes(self, name: str, page: list[Delete]) -> Deletes:
        shape = self._shape(name)
        return Deletes(shape, self._keys(shape, page))

    def _shape(self, name: str) -> Shape:
        shape = self._shapes.get(name)
        if shape is None:
            raise ValueError(f"{name} is no table of this generation")
        return shape


def merged(pages: Iterable[Puts | Deletes]) -> list[Puts | Deletes]:
    """Several pages as one: rows of the same table and columns together, but for those that share cells."""
    found: list[Puts | Deletes] = []
    puts: dict[tuple[str, ...], list[Puts]] = {}
    deletes: dict[str, list[Deletes]] = {}
    for page in pages:
        if isinstance(page, Deletes):
            deletes.setdefault(page.shape.table.name, []).append(page)
        elif page.same:
            found.append(page)
        else:
            puts.setdefault((page.shape.table.name, *page.columns), []).append(page)
    found += [Puts(some[0].shape, some[0].columns, {}, _joined(some)) for some in puts.values()]
    return [*found, *(Deletes(some[0].shape, _joined(some)) for some in deletes.values())]


def _joined(pages: Sequence[Puts] | Sequence[Deletes]) -> Columns:
    return {name: list(chain.from_iterable([page.own[name] for page in pages])) for name in pages[0].own}
