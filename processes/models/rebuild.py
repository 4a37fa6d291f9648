"""Builds a projection anew beside the live one, and switches to it; reads and writes go on throughout.

    rebuild   fills a new generation up to the end of the log, checks it, offers it       (its own process)
    takeover  adopts an offered generation at the live one's position, and switches       (the projecting process)

So the projecting process stays the only writer of what is live. A rebuild that was killed goes on where it stopped.
A roll-back offers the old generation again: it catches up like any other before it is switched in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from domain.errors import Conflict
from processes.models.filling import filling
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from processes.port import Lease, Log
from projections.port import Generation, Generations, Projection

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
"""How often the projecting process asks whether a generation is offered."""
NEAR = 2_000
"""Facts behind the log's end at which a new generation is near enough to be offered."""


class InvariantsBroken(Exception):
    """A new generation does not pass its own checks; it is not offered. problems: one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Progress(msgspec.Struct, frozen=True):
    """done of total facts of one stream."""

    stream: str
    done: int
    total: int


async def build(
    log_: Log,
    store: Generations,
    projection: Projection,
    *,
    lease: Lease,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> int:
    """Fill a new generation, or one that was left unfinished, and offer it; its number.

    Raises InvariantsBroken when the result fails its checks and is dropped, LogMismatch when the log is another one,
    Conflict when another process fills one.
    """
    async with filling(log_, store, projection, lease) as generation:
        for stream in projection.streams:
            await _fill(log_, generation, projection, stream, on_progress)
        problems = await projection.check(generation)
        if problems:
            await store.drop(projection.name, generation.number)
            raise InvariantsBroken(problems)
        await store.offer(projection.name, generation.number)
    log.info("generation_offered", projection=projection.name, number=generation.number)
    return generation.number


async def _fill(
    log_: Log,
    generation: Generation,
    projection: Projection,
    stream: str,
    on_progress: Callable[[Progress], None],
) -> None:
    """Project until the end of the stream is near; it moves on meanwhile."""
    position = -NEAR
    while (end := await log_.end(stream)) - position >= NEAR:
        aim = end

        def progress(position: int, aim: int = aim) -> None:
            on_progress(Progress(stream, min(position, aim), aim))

        projector = Projector(
            log_,
            stream,
            [(projection, generation)],
            Watermark(generation, local=True),
            on_progress=progress,
        )
        await projector.run(until=end)
        position = projector.position


class Takeover:
    """Runs beside the projectors of one process. generations: what is live, by projection; kept up to date here."""

    def __init__(
        self,
        *,
        store: Generations,
        projectors: Sequence[Projector],
        projections: Sequence[Projection],
        generations: Mapping[str, Generation],
    ) -> None:
        self._store, self._projectors, self._projections = store, projectors, projections
        self._live = dict(generations)

    async def run(self) -> None:
        while True:
            for projection in self._projections:
                number = await self._store.offered(projection.name)
                if number is not None:
                    await self._take(projection, number)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _take(self, projection: Projection, number: int) -> None:
        """Adopt, switch, release the old one: readers see one or the other, at the same position."""
        old = self._live[projection.name]
        if number == old.number:
            return
        try:
            new = await self._store.generation(projection.name, number, projection.tables)
        except Conflict:
            # The process that filled it has not let go of it yet.
            return
        for projector in self._projectors:
            await projector.adopt(projection, new)
        await self._store.switch(projection.name, number)
        for projector in self._projectors:
            projector.release(projection, old)
        self._live[projection.name] = new
        log.info("generation_switched", projection=projection.name, old=old.number, new=number)
