"""A page of writes, put in order for a database: puts by table and columns, deletes by table, all in stored form.

Both backends write pages. Owns the checks before anything is written; ValueError is a bug of the projection, and then
nothing of the page is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from infra.readstore.cells import Stored
from infra.readstore.shape import Shape, check_ties
from projections.port import Delete, Put, Table, Write


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
        puts: dict[str, dict[tuple[str, ...], list[Put]]] = {}
        deletes: dict[str, list[Delete]] = {}
        for write in writes:
            if isinstance(write, Put):
                puts.setdefault(write.table.name, {}).setdefault(tuple(write.values), []).append(write)
            else:
                deletes.setdefault(write.table.name, []).append(write)
        return [
            *(page for name, by_columns in puts.items() for page in self._puts(name, by_columns)),
            *(self._deletes(name, page) for name, page in deletes.items()),
        ]

    def _puts(self, name: str, by_columns: Mapping[tuple[str, ...], list[Put]]) -> Iterator[Puts]:
        shape = self._shape(name)
        check_ties([put for page in by_columns.values() for put in page])
        for columns, page in by_columns.items():
            encoded = shape.key_columns([put.key for put in page])
            encoded += shape.value_columns(columns, [tuple(put.values.values()) for put in page])
            encoded.append([put.position for put in page])
            yield Puts(shape, columns, list(zip(*encoded, strict=True)))

    def _deletes(self, name: str, page: list[Delete]) -> Deletes:
        shape = self._shape(name)
        check_ties(page)
        encoded = [*shape.key_columns([one.key for one in page]), [one.position for one in page]]
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
