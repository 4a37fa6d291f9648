"""Whether a read model is what the log says: built anew up to the live one's position, and compared by digest.

The caller holds the projecting process still for the comparison. Nothing live is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import msgspec

from domain.recorded import Checkpoint, Recorded
from processes.models.filling import filling
from processes.models.projector import Projector
from processes.models.rebuild import NEAR, Progress
from processes.models.watermark import Watermark
from processes.port import Lease, Log, Poison
from projections.port import Generation, Generations, Projection, ReadModels, Table


class Difference(msgspec.Struct, frozen=True):
    """A table that reads otherwise live than rebuilt. rows: live, rebuilt."""

    table: str
    rows_live: int
    rows_rebuilt: int


class Verdict(msgspec.Struct, frozen=True):
    """positions: up to where, by stream."""

    projection: str
    positions: dict[str, int]
    rows: int
    differences: tuple[Difference, ...]


class Store(Generations, ReadModels, Protocol):
    async def digest(self, table: Table) -> tuple[int, str]:
        """(rows, digest) of a table of the live generation."""
        ...


async def verify(
    log: Log,
    store: Store,
    projection: Projection,
    *,
    lease: Lease,
    hold_still: Callable[[], AbstractAsyncContextManager[Any]],
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Verdict:
    """Compare. Uses, and then drops, a generation that is never offered. Conflict: another process fills one."""
    async with filling(log, store, projection, lease) as generation:
        copy = _Copy(log, store, projection, generation, on_progress)
        try:
            while await copy.catch_up() >= NEAR:
                pass
            async with hold_still():
                await copy.catch_up()
                compared = [await _compare(store, generation, table) for table in projection.tables]
        finally:
            if lease.is_held:  # else it is somebody else's to go on with
                await store.drop(projection.name, generation.number)
    differences = tuple(difference for _, difference in compared if difference is not None)
    return Verdict(projection.name, copy.positions, sum(rows for rows, _ in compared), differences)


class _Copy:
    """A generation that follows the live one, never ahead of it."""

    def __init__(
        self,
        log: Log,
        store: Store,
        projection: Projection,
        generation: Generation,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._log, self._store = log, store
        self._projection, self._generation = projection, generation
        self._on_progress = on_progress
        self.positions = dict.fromkeys(projection.streams, 0)

    async def catch_up(self) -> int:
        """Bring it to where the live one stands; how many positions that was."""
        advanced = 0
        for stream in self._projection.streams:
            live = await self._store.checkpoint(self._projection.name, stream)
            until = live.position if live else 0
            await self._project(stream, until)
            advanced += until - self.positions[stream]
            self.positions[stream] = until
        return advanced

    async def _project(self, stream: str, until: int) -> None:
        projector = Projector(
            up_to(self._log, until),
            stream,
            [(self._projection, self._generation)],
            Watermark(self._generation, local=True),
            on_progress=lambda position: self._on_progress(Progress(stream, position, until)),
        )
        await projector.run(until=until)


async def _compare(store: Store, generation: Generation, table: Table) -> tuple[int, Difference | None]:
    rows_live, live = await store.digest(table)
    rows_rebuilt, rebuilt = await generation.digest(table)
    return rows_live, None if live == rebuilt else Difference(table.name, rows_live, rows_rebuilt)


def up_to(log: Log, position: int) -> Log:
    """The log as if it ended at `position`."""
    return cast("Log", _UpTo(log, position))


class _UpTo:
    def __init__(self, log: Log, position: int) -> None:
        self._log, self._position = log, position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def follow(
        self, stream: str, start: Checkpoint | None, **options: Any
    ) -> AsyncIterator[Sequence[Recorded | Poison]]:
        async for batch in self._log.follow(stream, start, **options):
            wanted = [fact for fact in batch if fact.position <= self._position]
            if wanted:
                yield wanted
            if batch[-1].position >= self._position:
                return
