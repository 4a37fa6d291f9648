"""Keeps the read models up to date: reads each stream in order and writes what the projections say.

Rows first, then the checkpoint. A store that is down stops the projector and it catches up by itself; a fact that a
projection cannot read (a poison event) goes to TRIAGE and holds up only its own aggregate. It never skips in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import stamina
import structlog

from domain.errors import Unavailable
from domain.recorded import Checkpoint, Recorded
from processes.ahead import ahead
from processes.blocks import OpenBlock, open_block
from processes.port import Log, Poison
from processes.watermark import Watermark
from projections.port import Generation, Projection, Write

log = structlog.get_logger(__name__)

BATCH = 500
"""Facts applied together: large enough for cheap transactions, small enough for a page of reads in between."""
RETRY_WAIT_S_MAX = 10.0


@dataclass(slots=True)
class Track:
    """One projection's generation and where it stands in one stream.

    held: subjects that wait behind a fact that could not be read, with the position of that fact. block: what a
    projection that sums blocks has written in the one that it is in.
    """

    projection: Projection
    generation: Generation
    position: int
    held: dict[str, int] = field(default_factory=dict)
    block: OpenBlock | None = None

    def sums(self, writes: Sequence[Write], position: int) -> list[Write]:
        """What these writes finish, when the facts up to a position have made them."""
        return self.block.sums(writes, position) if self.block else []

    def advance(self, writes: Sequence[Write], position: int) -> None:
        """They are stored."""
        if self.block:
            self.block.keep(writes, position)
        self.position = position

    @property
    def source(self) -> str:
        return f"projection-{self.projection.name}"


class Projector:
    """Feeds the given generations from one stream. on_progress: told each position that is applied."""

    def __init__(
        self,
        events: Log,
        stream: str,
        generations: Sequence[tuple[Projection, Generation]],
        watermark: Watermark,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self._log, self.stream, self._watermark = events, stream, watermark
        self._given = [
            (projection, generation) for projection, generation in generations if stream in projection.streams
        ]
        self._tracks: list[Track] = []
        self._applying = asyncio.Lock()
        self._started = asyncio.Event()
        self._on_progress = on_progress
        self.position = 0

    async def run(self, *, until: int | None = None) -> None:
        """Project for ever, or up to a position. Raises LogMismatch when this is not the log we come from."""
        opened = [await self._open(projection, generation) for projection, generation in self._given]
        self._tracks = [track for track, _ in opened]
        start = _earliest([checkpoint for _, checkpoint in opened])
        self.position = start.position if start else 0
        for track in self._tracks:
            self._watermark.advance(track.projection.name, self.stream, track.position)
        self._started.set()
        if until is not None and self.position >= until:
            return
        following = self._log.follow(self.stream, start, batch=BATCH)
        async with contextlib.aclosing(ahead(following)) as batches:
            async for facts in batches:
                async with self._applying:
                    await self._apply(facts)
                if until is not None and self.position >= until:
                    return

    async def adopt(self, projection: Projection, generation: Generation) -> None:
        """Feed one more generation from here on; it is where the others are when this returns."""
        if self.stream not in projection.streams:
            return
        await self._started.wait()
        track, checkpoint = await self._open(projection, generation)
        async with self._applying:
            if track.position < self.position:
                async for facts in self._log.follow(self.stream, checkpoint, batch=BATCH):
                    await self._apply_to(track, facts)
                    if track.position >= self.position:
                        break
            self._tracks.append(track)

    def release(self, projection: Projection, generation: Generation) -> None:
        """Feed a generation no longer: another one has taken its place."""
        self._tracks = [
            track
            for track in self._tracks
            if (track.projection.name, track.generation.number) != (projection.name, generation.number)
        ]

    async def _open(self, projection: Projection, generation: Generation) -> tuple[Track, Checkpoint | None]:
        checkpoint = await generation.checkpoint(projection.name, self.stream)
        track = Track(projection, generation, checkpoint.position if checkpoint else 0)
        track.held = await self._log.triaged(track.source)
        track.block = await open_block(
            self._log, self.stream, projection, track.position, lambda fact: self._take(track, fact)
        )
        return track, checkpoint

    async def _apply(self, facts: Sequence[Recorded | Poison]) -> None:
        for track in self._tracks:
            await self._apply_to(track, facts)
        self.position = max(self.position, facts[-1].position)
        if self._on_progress is not None:
            self._on_progress(self.position)

    async def _apply_to(self, track: Track, facts: Sequence[Recorded | Poison]) -> None:
        last = facts[-1]
        if track.position >= last.position:
            return
        digest = last.digest if isinstance(last, Recorded) else ""
        checkpoint = Checkpoint(self.stream, last.position, await self._log.epoch(self.stream), digest)
        writes = await self._writes(track, facts)
        try:
            await _store(track.generation, [*writes, *track.sums(writes, last.position)], checkpoint)
        except ValueError:
            writes = await self._store_singly(track, facts, checkpoint)
        track.advance(writes, last.position)
        self._watermark.advance(track.projection.name, self.stream, last.position)

    async def _store_singly(
        self, track: Track, facts: Sequence[Recorded | Poison], checkpoint: Checkpoint
    ) -> list[Write]:
        """Find the fact whose rows can't be stored, and hold it; the writes of the others.

        Rows that are written twice change nothing.
        """
        stored: list[Write] = []
        for fact in facts:
            try:
                writes = await self._writes(track, [fact])
                await _store(track.generation, writes, None)
            except ValueError as error:
                await self._hold(track, fact, str(error))
            else:
                stored += writes
        await _store(track.generation, track.sums(stored, checkpoint.position), checkpoint)
        return stored

    async def _writes(self, track: Track, facts: Sequence[Recorded | Poison]) -> list[Write]:
        writes: list[Write] = []
        for fact in facts:
            if fact.position > track.position:
                writes += await self._take(track, fact)
        return writes

    async def _take(self, track: Track, fact: Recorded | Poison) -> list[Write]:
        """The writes of one fact, unless it has to be put aside."""
        if isinstance(fact, Poison):
            await self._hold(track, fact, fact.reason)
        elif track.held.get(fact.subject, fact.position) < fact.position:
            await self._hold(track, fact, "waits behind an earlier fact")
        else:
            return await self._project(track, fact)
        return []

    async def _project(self, track: Track, fact: Recorded) -> list[Write]:
        try:
            writes = list(track.projection.project(fact))
        except Exception as error:  # noqa: BLE001  a projection that breaks on one fact goes on with the others
            await self._hold(track, fact, repr(error))
            return []
        if track.held.get(fact.subject) == fact.position:
            del track.held[fact.subject]  # what could not be read once can be read now
        return writes

    async def _hold(self, track: Track, fact: Recorded | Poison, reason: str) -> None:
        """Later facts of the same aggregate wait behind this one, in TRIAGE."""
        track.held.setdefault(fact.subject, fact.position)
        log.error("fact_held", projection=track.projection.name, position=fact.position, reason=reason)
        await self._log.triage(track.source, fact.subject, reason=reason, body=b"", position=fact.position)


def _earliest(checkpoints: Sequence[Checkpoint | None]) -> Checkpoint | None:
    """Where reading has to start so that nobody misses anything; None: at the beginning."""
    known = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    if len(known) < len(checkpoints) or not known:
        return None
    return min(known, key=lambda checkpoint: checkpoint.position)


async def _store(generation: Generation, writes: Sequence[Write], checkpoint: Checkpoint | None) -> None:
    """Apply, waiting for a store that is down; for ever, since there is nothing else to do."""
    checkpoints = [checkpoint] if checkpoint else []
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=None, timeout=None, wait_max=RETRY_WAIT_S_MAX
    ):
        with attempt:
            await generation.apply(writes, checkpoints)
    await asyncio.sleep(0)
