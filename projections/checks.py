"""Looking through a whole generation for rows that cannot be, before it is switched in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from projections.port import Generation, Row, Table


def narrow(table: Table, *columns: str) -> Table:
    """The table with these of its columns alone: a scan reads and decodes nothing else beside the key."""
    return msgspec.structs.replace(table, columns={name: table.columns[name] for name in columns})


async def count(generation: Generation, table: Table, is_wrong: Callable[[Row], bool]) -> int:
    """How many rows of a table are wrong."""
    return (await counts(generation, table, is_wrong))[0]


async def counts(generation: Generation, table: Table, *are_wrong: Callable[[Row], bool]) -> list[int]:
    """How many rows of a table are wrong in each of several ways, in one pass."""
    wrong = [0] * len(are_wrong)
    async for page in generation.scan(table):
        for place, is_wrong in enumerate(are_wrong):
            wrong[place] += sum(1 for row in page if is_wrong(row))
    return wrong
