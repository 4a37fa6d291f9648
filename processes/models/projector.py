"""Keeps the read models up to date: reads each stream in order and writes what the projections say.

Rows first, then the checkpoint. A store that is down stops the projector and it catches up by itself; a fact that a
projection cannot read (a poison event) goes to TRIAGE and holds up only its own aggregate, or nothing where facts do
not build on one another. It never skips in silence: what a projection says that it makes nothing of
(projections.port.Selective) is all that it is not shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import stamina
import structlog

from domain.errors import Unavailable
from domain.recorded import LOOSE, Checkpoint, Recorded
from processes.models.blocks import OpenBlock, open_block
from processes.models.holds import holds_of, source_of
from processes.models.watermark import Watermark
from processes.port import Log, Poison
from processes.silences import or_silence
from projections.port import Generation, Projection, Selective, Write

log = structlog.get_logger(__name__)

BATCH = 500
"""Facts applied together: large enough for cheap transactions, small enough for a page of reads in between."""
RETRY_WAIT_S_MAX = 10.0
CHECKPOINT_EVERY_S = 0.05
"""A checkpoint without rows is stored this often at most, and this long after the last fact at the latest: it costs a
transaction, and most pages have rows for a few of the read models only. Processes that wait for it wait no longer.
"""
CHECKPOINT_EVERY_S_ALONE = 0.25
"""Where nobody waits for it, since all that reads the models is in this process: with a dozen read models that were
more transactions than rows have. What a killed process has not stored it projects again.
"""
EVERYTHING = ("",)
"""Every subject begins so."""


@dataclass(slots=True)
class Track:
    """One projection's generation and where it stands in one stream.

    held: subjects that wait behind a fact that could not be read, with the position of that fact; none of a loose
    stream. block: what a projection that sums blocks has written in the one that it is in. owed: a checkpoint without
    rows that is not stored yet; stored_at: when the last one was, on the monotonic clock. wanted: how the subjects of
    its facts begin.
    """

    projection: Projection
    generation: Generation
    position: int
    held: dict[str, int] = field(default_factory=dict)
    block: OpenBlock | None = None
    owed: Checkpoint | None = None
    stored_at: float = 0.0
    wanted: tuple[str, ...] = EVERYTHING

    def sums(self, writes: Sequence[Write], position: int) -> list[Write]:
        """What these writes finish, when the facts up to a position have made them."""
        return self.block.sums(writes, position) if self.block else []

    def waits(self, fact: Recorded) -> bool:
        """It was put aside here before: only what is read for the first time may come to be read after all."""
        return (
            fact.position <= self.position and self.held.get(fact.subject, fact.position + 1) <= fact.position
        )

    def advance(self, writes: Sequence[Write], position: int) -> None:
        """They are stored."""
        if self.block:
            self.block.keep(writes, position)
        self.position = position


class Projector:
    """Feeds the given generations from one stream.

    on_progress: told each position that is applied. checkpoint_every_s: see CHECKPOINT_EVERY_S.
    """

    def __init__(
        self,
        events: Log,
        stream: str,
        generations: Sequence[tuple[Projection, Generation]],
        watermark: Watermark,
        *,
        on_progress: Callable[[int], None] | None = None,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        self._log, self.stream, self._watermark = events, stream, watermark
        self._given = [
            (projection, generation) for projection, generation in generations if stream in projection.streams
        ]
        self._tracks: list[Track] = []
        self._applying = asyncio.Lock()
        self._started = asyncio.Event()
        self._on_progress, self._checkpoint_every_s = on_progress, checkpoint_every_s
        self.position = 0

    async def run(self, *, until: int | None = None) -> None:
        """Project for ever, or up to a position. Raises LogMismatch when this is not the log we come from.

        Up to a position only facts are read that some projection wants: of a rebuild, a part of the log.
        """
        opened = [await self._open(projection, generation) for projection, generation in self._given]
        self._tracks = [track for track, _ in opened]
        start = _earliest([checkpoint for _, checkpoint in opened])
        self.position = start.position if start else 0
        for track in self._tracks:
            self._watermark.advance(track.projection.name, self.stream, track.position)
        self._started.set()
        if until is not None and self.position >= until:
            return
        subjects, aim = await self._bounds(until)
        if aim is None or self.position < aim:
            await self._follow(start, subjects, aim)
        if until is not None and self.position < until:
            await self._pass(until)
        async with self._applying:
            await self._settle()

    async def _follow(self, start: Checkpoint | None, subjects: Sequence[str], aim: int | None) -> None:
        following = self._log.follow(self.stream, start, subjects=subjects, batch=BATCH)
        async with contextlib.aclosing(or_silence(following, after_s=self._checkpoint_every_s)) as batches:
            async for facts in batches:
                async with self._applying:
                    if facts is None:
                        await self._settle()
                    else:
                        await self._apply(facts)
                if aim is not None and self.position >= aim:
                    return

    async def _bounds(self, until: int | None) -> tuple[Sequence[str], int | None]:
        """The subjects to read (none: all), and the position of the last fact on them that is needed."""
        given = [_subjects(projection, self.stream) for projection, _ in self._given]
        if until is None or not all(given) or await self._log.end(self.stream) < until:
            return (), until
        subjects = tuple(dict.fromkeys(subject for each in given for subject in each))
        try:
            newest = [await self._log.last(self.stream, subject) for subject in subjects]
        except ValueError:  # one of them can't be read, so it does not say where it is
            return (), until
        return subjects, min(until, max(fact.position if fact else 0 for fact in newest))

    async def _pass(self, position: int) -> None:
        """Nothing is left up to a position that anybody wants: stand there, with the digest of what is there."""
        there: list[Recorded] = []
        with contextlib.suppress(ValueError):  # a poison: as after any other, there is no digest
            there = await self._log.read(self.stream, ">", after=position - 1, limit=1)
        digest = there[0].digest if there and there[0].position == position else ""
        async with self._applying:
            checkpoint = Checkpoint(self.stream, position, await self._log.epoch(self.stream), digest)
            for track in self._tracks:
                if track.position < position:
                    await self._store([], track, checkpoint, [])
            self._advance(position)

    async def adopt(self, projection: Projection, generation: Generation) -> None:
        """Feed one more generation from here on; it is where the others are when this returns."""
        if self.stream not in projection.streams:
            return
        await self._started.wait()
        track, checkpoint = await self._open(projection, generation)
        # Most of the way beside the others, who would keep readers waiting while they stand still.
        checkpoint = await self._catch_up(track, checkpoint)
        async with self._applying:
            await self._catch_up(track, checkpoint)
            self._tracks.append(track)

    async def _catch_up(self, track: Track, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """Bring a track to where the others are by now; the checkpoint it stands at then."""
        if track.position >= self.position:
            return checkpoint
        async for facts in self._log.follow(self.stream, checkpoint, batch=BATCH):
            await self._apply_to(track, facts, await self._after(facts))
            if track.position >= self.position:
                break
        await self._settle_one(track)
        return await track.generation.checkpoint(track.projection.name, self.stream)

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
        if subjects := _subjects(projection, self.stream):
            track.wanted = tuple(subject.removesuffix(">") for subject in subjects)
        if self.stream not in LOOSE:
            track.held = await holds_of(self._log, generation)
        track.block = await open_block(
            self._log, self.stream, projection, track.position, lambda fact: self._take(track, fact)
        )
        return track, checkpoint

    async def _apply(self, facts: Sequence[Recorded | Poison]) -> None:
        checkpoint = await self._after(facts)
        for track in self._tracks:
            await self._apply_to(track, facts, checkpoint)
        self._advance(checkpoint.position)

    async def _after(self, facts: Sequence[Recorded | Poison]) -> Checkpoint:
        """Where a page ends."""
        last = facts[-1]
        digest = last.digest if isinstance(last, Recorded) else ""
        return Checkpoint(self.stream, last.position, await self._log.epoch(self.stream), digest)

    def _advance(self, position: int) -> None:
        self.position = max(self.position, position)
        if self._on_progress is not None:
            self._on_progress(self.position)

    async def _apply_to(
        self, track: Track, facts: Sequence[Recorded | Poison], checkpoint: Checkpoint
    ) -> None:
        if track.position < checkpoint.position:
            await self._store(await self._writes(track, facts), track, checkpoint, facts)

    async def _store(
        self,
        writes: Sequence[Write],
        track: Track,
        checkpoint: Checkpoint,
        facts: Sequence[Recorded | Poison],
    ) -> None:
        """What a page of facts has made, and then where it ends. A checkpoint without rows may wait."""
        rows = [*writes, *track.sums(writes, checkpoint.position)]
        now = time.monotonic()
        if rows or now - track.stored_at >= self._checkpoint_every_s:
            try:
                await _stored(track.generation, rows, checkpoint)
            except ValueError:
                writes = await self._store_singly(track, facts, checkpoint)
            track.owed, track.stored_at = None, now
        else:
            track.owed = checkpoint
        track.advance(writes, checkpoint.position)
        self._watermark.advance(track.projection.name, self.stream, checkpoint.position)

    async def _settle(self) -> None:
        for track in self._tracks:
            await self._settle_one(track)

    async def _settle_one(self, track: Track) -> None:
        """Store the checkpoint that waits."""
        if track.owed is not None:
            await _stored(track.generation, [], track.owed)
            track.owed, track.stored_at = None, time.monotonic()

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
                await _stored(track.generation, writes, None)
            except ValueError as error:
                await self._hold(track, fact, str(error))
            else:
                stored += writes
        await _stored(track.generation, track.sums(stored, checkpoint.position), checkpoint)
        return stored

    async def _writes(self, track: Track, facts: Sequence[Recorded | Poison]) -> list[Write]:
        writes: list[Write] = []
        for fact in facts:
            if fact.position > track.position and fact.subject.startswith(track.wanted):
                writes += await self._take(track, fact)
        return writes

    async def _take(self, track: Track, fact: Recorded | Poison) -> list[Write]:
        """The writes of one fact, unless it has to be put aside."""
        if isinstance(fact, Poison):
            await self._hold(track, fact, fact.reason)
        elif track.waits(fact):
            return []
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
        """Put it into TRIAGE; later facts of the same aggregate wait behind it."""
        if self.stream not in LOOSE:
            track.held.setdefault(fact.subject, fact.position)
        log.error("fact_held", projection=track.projection.name, position=fact.position, reason=reason)
        source = source_of(track.generation)
        await self._log.triage(source, fact.subject, reason=reason, body=b"", position=fact.position)


def _earliest(checkpoints: Sequence[Checkpoint | None]) -> Checkpoint | None:
    """Where reading has to start so that nobody misses anything; None: at the beginning."""
    known = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    if len(known) < len(checkpoints) or not known:
        return None
    return min(known, key=lambda checkpoint: checkpoint.position)


def _subjects(projection: Projection, stream: str) -> Sequence[str]:
    """What a projection makes something of in a stream; none: it may be anything."""
    return projection.subjects.get(stream, ()) if isinstance(projection, Selective) else ()


async def _stored(generation: Generation, writes: Sequence[Write], checkpoint: Checkpoint | None) -> None:
    """Apply, waiting for a store that is down; for ever, since there is nothing else to do."""
    checkpoints = [checkpoint] if checkpoint else []
    try:
        # Hot path: setting up retries costs as much as a small transaction.
        await generation.apply(writes, checkpoints)
    except Unavailable:
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=None, timeout=None, wait_max=RETRY_WAIT_S_MAX
        ):
            with attempt:
                await generation.apply(writes, checkpoints)
    await asyncio.sleep(0)
