"""A page of writes, put in order for a database: puts by table and columns, deletes by table, all in stored form.

Both backends write pages. Owns the checks before anything is written; ValueError is a bug of the projection, and then
nothing of the page is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import is_, itemgetter
from typing import Any

import msgspec

from infra.readstore.cells import Stored
from infra.readstore.shape import Shape, check_positions, check_ties
from projections.port import Delete, Put, PutMany, Table, Write, singly


class Puts(msgspec.Struct, frozen=True):
    """Rows of key, values of `columns` and position."""

    shape: Shape
    columns: tuple[str, ...]
    rows: list[tuple[Stored, ...]]


class Deletes(msgspec.Struct, frozen=True):
    """Rows of key and position."""

    shape: Shape
    rows: list[tuple[Stored, ...]]


class WritePlanner:
    """For the tables of one generation."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._shapes: Mapping[str, Shape] = {table.name: Shape(table) for table in tables}

    def plan(self, writes: Sequence[Write]) -> list[Puts | Deletes]:
        """In any order, since the order of writes never matters."""
        puts: dict[tuple[str, ...], list[Put]] = {}
        deletes: dict[str, list[Delete]] = {}
        many: list[PutMany] = []
        alike: list[Put] = []
        for write in writes:
            if isinstance(write, PutMany):
                many += [write] if write.keys else []
            elif isinstance(write, Delete):
                deletes.setdefault(write.table.name, []).append(write)
            elif alike and write.values is alike[-1].values and write.table is alike[-1].table:
                alike.append(write)
            else:
                alike = puts.setdefault((write.table.name, *write.values), [])
                alike.append(write)
        pages = [self._puts(name, columns, page) for (name, *columns), page in puts.items()]
        pages += map(self._many, many)
        self._check_ties(pages, writes)
        return [*pages, *(self._deletes(name, page) for name, page in deletes.items())]

    def _puts(self, name: str, columns: Sequence[str], page: Sequence[Put]) -> Puts:
        shape = self._shape(name)
        positions = [put.position for put in page]
        check_positions(positions)
        encoded = shape.key_columns([put.key for put in page])
        encoded += self._values(shape, columns, [put.values for put in page])
        encoded.append(positions)
        return Puts(shape, tuple(columns), list(zip(*encoded, strict=True)))

    def _many(self, write: PutMany) -> Puts:
        shape = self._shape(write.table.name)
        check_positions([write.position])
        rows = len(write.keys)
        encoded = shape.key_columns(write.keys)
        same = shape.columns_of(tuple(write.values), [(value,) for value in write.values.values()])
        encoded += [list(cells) * rows for cells in same]
        encoded += shape.columns_of(tuple(write.own), write.own.values())
        encoded.append([write.position] * rows)
        return Puts(shape, (*write.values, *write.own), list(zip(*encoded, strict=True)))

    def _values(
        self, shape: Shape, columns: Sequence[str], given: Sequence[Mapping[str, Any]]
    ) -> list[Sequence[Stored]]:
        """Hot path: what a page plans for hundreds of contacts is the same for all of them, and is stored form once."""
        if all(map(is_, given, repeat(given[0]))):
            one = shape.value_columns(columns, [tuple(given[0].values())])
            return [list(cells) * len(given) for cells in one]
        return shape.value_columns(columns, [tuple(values.values()) for values in given])

    def _check_ties(self, pages: Sequence[Puts], writes: Sequence[Write]) -> None:
        """Hot path: that no row is written twice by one fact shows in stored form, in a tenth of the time."""
        rows: dict[str, list[tuple[Stored, ...]]] = {}
        for page in pages:
            width = len(page.shape.key_names)
            place = itemgetter(*range(width), -1)
            rows.setdefault(page.shape.table.name, []).extend(map(place, page.rows))
        if any(len(set(places)) < len(places) for places in rows.values()):
            check_ties(put for put in singly(writes) if isinstance(put, Put))

    def _deletes(self, name: str, page: list[Delete]) -> Deletes:
        shape = self._shape(name)
        positions = [one.position for one in page]
        check_positions(positions)
        encoded = [*shape.key_columns([one.key for one in page]), positions]
        return Deletes(shape, list(zip(*encoded, strict=True)))

    def _shape(self, name: str) -> Shape:
        shape = self._shapes.get(name)
        if shape is None:
            raise ValueError(f"{name} is no table of this generation")
        return shape


def merged(pages: Iterable[Puts | Deletes]) -> list[Puts | Deletes]:
    """Several pages as one: rows of the same table and columns together."""
    puts: dict[tuple[str, tuple[str, ...]], Puts] = {}
    deletes: dict[str, Deletes] = {}
    for page in pages:
        name = page.shape.table.name
        if isinstance(page, Puts):
            one = puts.setdefault((name, page.columns), Puts(page.shape, page.columns, []))
            one.rows.extend(page.rows)
        else:
            deletes.setdefault(name, Deletes(page.shape, [])).rows.extend(page.rows)
    return [*puts.values(), *deletes.values()]
