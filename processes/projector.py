"""Keeps the read models up to date: reads each stream in order and writes what the projections say.

Rows first, then the checkpoint. A store that is down stops the projector and it catches up by itself; a fact that a
projection cannot read (a poison event) goes to TRIAGE and holds up only its own aggregate. It never skips in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import stamina
import structlog

from domain.errors import Unavailable
from domain.recorded import Checkpoint, Recorded
from processes.port import Log, Poison
from processes.watermark import Watermark
from projections.port import Generation, Projection, Write

log = structlog.get_logger(__name__)

BATCH = 500
"""Facts applied together: large enough for cheap transactions, small enough for a page of reads in between."""
RETRY_WAIT_S_MAX = 10.0


@dataclass(slots=True)
class Track:
    """One projection's generation and where it stands in one stream. held: subjects that wait behind poison."""

    projection: Projection
    generation: Generation
    position: int
    held: set[str] = field(default_factory=set)

    @property
    def source(self) -> str:
        return f"projection-{self.projection.name}"


class Projector:
    """Feeds the given generations from one stream."""

    def __init__(
        self,
        events: Log,
        stream: str,
        generations: Sequence[tuple[Projection, Generation]],
        watermark: Watermark,
    ) -> None:
        self._log, self._stream, self._watermark = events, stream, watermark
        self._generations = [
            (projection, generation) for projection, generation in generations if stream in projection.streams
        ]
        self.position = 0

    async def run(self, *, until: int | None = None) -> None:
        """Project for ever, or up to a position. Raises LogMismatch when this is not the log we come from."""
        tracks, start = await self._tracks()
        self.position = start.position if start else 0
        for track in tracks:
            self._watermark.advance(track.projection.name, self._stream, track.position)
        if until is not None and self.position >= until:
            return
        async for facts in self._log.follow(self._stream, start, batch=BATCH):
            await self._apply(tracks, facts)
            if until is not None and self.position >= until:
                return

    async def _tracks(self) -> tuple[list[Track], Checkpoint | None]:
        """Each projection's track, and the earliest checkpoint: that is where reading starts."""
        tracks, checkpoints = [], []
        for projection, generation in self._generations:
            checkpoint = await generation.checkpoint(projection.name, self._stream)
            checkpoints.append(checkpoint)
            track = Track(projection, generation, checkpoint.position if checkpoint else 0)
            track.held = set(await self._log.triaged(track.source))
            tracks.append(track)
        known = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
        if len(known) < len(checkpoints) or not known:
            return tracks, None
        return tracks, min(known, key=lambda checkpoint: checkpoint.position)

    async def _apply(self, tracks: Sequence[Track], facts: Sequence[Recorded | Poison]) -> None:
        last = facts[-1]
        digest = last.digest if isinstance(last, Recorded) else ""
        checkpoint = Checkpoint(self._stream, last.position, await self._log.epoch(self._stream), digest)
        for track in tracks:
            if track.position >= last.position:
                continue
            writes = await self._writes(track, facts)
            await _store(track.generation, writes, checkpoint)
            track.position = last.position
            self._watermark.advance(track.projection.name, self._stream, last.position)
        self.position = last.position

    async def _writes(self, track: Track, facts: Sequence[Recorded | Poison]) -> list[Write]:
        writes: list[Write] = []
        for fact in facts:
            if fact.position <= track.position:
                continue
            if isinstance(fact, Poison) or fact.subject in track.held:
                await self._hold(track, fact)
                continue
            try:
                writes.extend(track.projection.project(fact))
            except ValueError as error:
                await self._hold(track, Poison(self._stream, fact.position, fact.subject, str(error)))
        return writes

    async def _hold(self, track: Track, fact: Recorded | Poison) -> None:
        """Later facts of the same aggregate wait behind the poisoned one, in TRIAGE."""
        reason = fact.reason if isinstance(fact, Poison) else "waits behind an earlier fact"
        track.held.add(fact.subject)
        log.error("fact_held", projection=track.projection.name, position=fact.position, reason=reason)
        await self._log.triage(track.source, fact.subject, reason=reason, body=b"", position=fact.position)


async def _store(generation: Generation, writes: Sequence[Write], checkpoint: Checkpoint) -> None:
    """Apply, waiting for a store that is down; for ever, since there is nothing else to do."""
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=None, timeout=None, wait_max=RETRY_WAIT_S_MAX
    ):
        with attempt:
            await generation.apply(writes, [checkpoint])
    await asyncio.sleep(0)
