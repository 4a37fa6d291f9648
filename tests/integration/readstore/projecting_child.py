"""A process that projects into a SQLite generation until it is killed: `projecting_child FOLDER`.

Page n puts the rows n*10 .. n*10+9 and the checkpoint n, and says so on stdout once `apply` has returned.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from domain.recorded import EVENTS, Checkpoint
from infra.readstore.opening import read_store
from projections.port import Put, Table

TABLE = Table(
    projection="killed",
    name="killed_rows",
    partition={"realm": "text"},
    clustering={"number": "bigint"},
    columns={"page": "bigint", "words": "text"},
)
PAGE_ROWS = 10


async def main(folder: Path) -> None:
    async with read_store(folder) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        await store.switch(TABLE.projection, number)
        known = await generation.checkpoint(TABLE.projection, EVENTS)
        for page in count(known.position + 1 if known else 1):
            await generation.apply(page_of(page), [Checkpoint(EVENTS, page, "epoch")])
            sys.stdout.write(f"{page}\n")
            sys.stdout.flush()


def page_of(page: int) -> list[Put]:
    numbers = range(page * PAGE_ROWS, (page + 1) * PAGE_ROWS)
    return [
        Put(TABLE, ("main", number), {"page": page, "words": "w" * 500}, page * PAGE_ROWS + 1)
        for number in numbers
    ]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
