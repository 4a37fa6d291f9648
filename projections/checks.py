"""Looking through a whole generation for rows that cannot be, before it is switched in."""

from __future__ import annotations

from collections.abc import Callable

from projections.port import Generation, Row, Table


async def count(generation: Generation, table: Table, is_wrong: Callable[[Row], bool]) -> int:
    """How many rows of a table are wrong."""
    wrong = 0
    async for page in generation.scan(table):
        wrong += sum(1 for row in page if is_wrong(row))
    return wrong
