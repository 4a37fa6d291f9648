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

    held: subjects that wait behind a fact that could not be read, with the position of that fact.
    """

    projection: Projection
    generation: Generation
    position: int
    held: dict[str, int] = field(default_factory=dict)

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
        try:
            await _store(track.generation, await self._writes(track, facts), checkpoint)
        except ValueError:
            await self._store_singly(track, facts, checkpoint)
        track.position = last.position
        self._watermark.advance(track.projection.name, self.stream, last.position)

    async def _store_singly(
        self, track: Track, facts: Sequence[Recorded | Poison], checkpoint: Checkpoint
    ) -> None:
        """Find the fact whose rows can't be stored, and hold it. Rows that are written twice change nothing."""
        for fact in facts:
            try:
                await _store(track.generation, await self._writes(track, [fact]), None)
            except ValueError as error:
                await self._hold(track, fact, str(error))
        await _store(track.generation, [], checkpoint)

    async def _writes(self, track: Track, facts: Sequence[Recorded | Poison]) -> list[Write]:
        writes: list[Write] = []
        for fact in facts:
            held_at = track.held.get(fact.subject, fact.position)
            if fact.position <= track.position:
                continue
            if isinstance(fact, Poison):
                await self._hold(track, fact, fact.reason)
            elif held_at < fact.position:
                await self._hold(track, fact, "waits behind an earlier fact")
            else:
                writes += await self._project(track, fact)
        return writes

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
