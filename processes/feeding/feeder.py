"""Shows messages on open sockets: appends their frames to FEED, in the order of EVENTS.

One feeder is at work among all processes that have one, by a lease; the others stand by. What keeps the order is not
the lease but FEED itself: each append says where FEED has to end for it to count, so one that was suspended and does
not know yet that it has been replaced writes nothing behind its successor. Where to go on, the last frame says. It
waits for no read model: who may follow was decided when sockets began to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched, chain, dropwhile, islice
from typing import Final
from uuid import UUID

import structlog

from commands.port import EventStore, VersionConflict
from domain.errors import Unavailable
from domain.ids import Ids, partition
from domain.recorded import EVENTS, Checkpoint, Recorded
from processes.dispatching.due import is_due, message_due
from processes.feeding.feed import Showing, showing
from processes.port import FeedLog, Frame, Lease, Log, LogMismatch, Poison

MESSAGES: Final = ("evt.message.>",)
PAGE: Final = 300
"""Facts dealt with together: the frames of as many fit one append."""
FRAMES_AT_ONCE: Final = 300
"""Of a message to named contacts: as many as the log appends together."""
NOTE_EVERY_S: Final = 1.0
"""The last frame says where to go on; the note does so when that is gone, and may be a moment old."""
AGAIN_S: Final = 0.2
"""After a failure, before FEED is asked anew how it ends."""
SOURCE: Final = "feeder"
"""In TRIAGE, of what can't be shown."""
EVENTS_MAX: Final = 10
"""Of one message; it has four."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Feeding:
    """How the feeder of this process is doing. holds: whether it is the one at work.

    position: of the last fact of EVENTS that it has dealt with; frames: how many it has shown.
    """

    holds: bool = False
    position: int = 0
    frames: int = 0


class Feeder:
    """run() feeds whenever the lease is ours, until the log is drained. Raises LogMismatch."""

    def __init__(
        self,
        *,
        log: Log,
        feed: FeedLog,
        lease: Lease,
        store: EventStore,
        ids: Ids,
        clock: Callable[[], datetime],
        feeding: Feeding | None = None,
        again_s: float = AGAIN_S,
        note_every_s: float = NOTE_EVERY_S,
    ) -> None:
        self._log, self._feed, self._lease = log, feed, lease
        self._store, self._ids, self._clock = store, ids, clock
        self._feeding = feeding or Feeding()
        self._again_s, self._note_every_s = again_s, note_every_s
        self._end = 0
        self._kept: timedelta | None = None
        self._shown: Checkpoint | None = None
        self._noted: Checkpoint | None = None

    async def run(self) -> None:
        while await self._lease.take():
            try:
                if await self._hold():
                    return
            finally:
                self._feeding.holds = False
                await self._lease.give_back()

    async def _hold(self) -> bool:
        """Feed as long as the lease is ours. True: the log is drained."""
        self._feeding.holds = True
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._lease.keep())
            following = group.create_task(self._go_on_and_on())
            noting = group.create_task(self._keep_noting())
            await asyncio.wait((keeping, following), return_when=asyncio.FIRST_COMPLETED)
            is_drained = following.done()
            for task in (keeping, following, noting):
                task.cancel()
        if is_drained:
            await self._note()
        return is_drained

    async def _go_on_and_on(self) -> None:
        """Follow, and begin anew from how FEED ends whenever anything about it is in doubt; returns once drained."""
        while True:
            try:
                if self._lease.is_held:
                    await self._go_on()
                    return
            except VersionConflict:
                log.warning("feeder_begins_anew", reason="another process has appended to FEED")
            except Unavailable as error:
                if not error.retryable:
                    raise
                log.warning("feeder_begins_anew", reason=repr(error))
            await asyncio.sleep(self._again_s)

    async def _go_on(self) -> None:
        epoch = await self._log.epoch(EVENTS)
        start, rest = await self._place(epoch)
        await self._append(rest)
        self._shown = start
        pages = self._log.follow(EVENTS, start, subjects=MESSAGES, batch=PAGE)
        try:
            async for facts in pages:
                parts = await asyncio.gather(*(self._frames_of(fact) for fact in facts))
                await self._append(chain.from_iterable(parts))
                last = facts[-1]
                digest = last.digest if isinstance(last, Recorded) else ""
                self._shown = Checkpoint(EVENTS, last.position, epoch, digest)
                self._feeding.position = last.position
        finally:
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()

    async def _place(self, epoch: str) -> tuple[Checkpoint | None, Iterable[Frame]]:
        """From where to read on, and what is left to show of the message that is there.

        The last frame or the note: the later one counts. There is a note alone when frames are gone, and nothing later
        than a frame's event when a feeder died. Neither: nothing was ever shown.
        """
        tail = await self._feed.tail()
        self._end, self._kept = tail.end, tail.kept
        noted = self._noted = await self._feed.noted()
        if noted is not None and noted.epoch != epoch:
            raise LogMismatch(f"{EVENTS} is in epoch {epoch}, what is shown of it in {noted.epoch}")
        at = noted.position if noted is not None else 0
        if tail.last is None or 0 < tail.last.position <= at:
            return noted, ()
        fact = await self._event_of(tail.last)
        if fact is None or fact.position <= at:
            return noted, ()
        rest = _behind(tail.last, await self._frames_of(fact))
        return Checkpoint(EVENTS, fact.position, epoch, fact.digest), rest

    async def _event_of(self, frame: Frame) -> Recorded | None:
        """What a frame shows; None for a frame that says nothing of it.

        Raises LogMismatch when EVENTS holds something else there: it has lost its tail, or is another log.
        """
        try:
            message = UUID(hex=frame.message)
        except ValueError:
            return None
        subject = f"evt.message.{partition(message)}.{message.hex}"
        after, limit = (frame.position - 1, 1) if frame.position else (0, EVENTS_MAX)
        facts = await self._log.read(EVENTS, subject, after=after, limit=limit)
        due = [fact for fact in facts if is_due(fact)]
        if frame.position and (not due or due[0].position != frame.position):
            raise LogMismatch(f"{EVENTS} does not hold at {frame.position} what the last frame on FEED shows")
        return due[0] if due else None

    async def _frames_of(self, fact: Recorded | Poison) -> Iterable[Frame]:
        """In order, made as they are taken; none of what shows nothing, or has to be put aside."""
        if isinstance(fact, Poison):
            await self._put_aside(fact, fact.reason)
            return ()
        if not is_due(fact) or self._is_forgotten(fact):
            return ()
        try:
            message = await message_due(fact, self._store)
            shown = showing(self._ids, fact.realm, message) if message is not None else None
            if message is None or shown is None:
                return ()
            self._feed.assert_fits(shown.body)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  a message that can't be shown must not stop the others
            await self._put_aside(fact, repr(error))
            return ()
        return _frames(fact, message.id.hex, shown)

    def _is_forgotten(self, fact: Recorded) -> bool:
        """Whether its frame would be so old by now that FEED kept it no more: nobody is shown it as news."""
        return self._kept is not None and fact.at < self._clock() - self._kept

    async def _put_aside(self, fact: Recorded | Poison, reason: str) -> None:
        log.error("fact_triaged", durable=SOURCE, position=fact.position, error=reason)
        await self._log.triage(SOURCE, fact.subject, reason=reason, body=b"", position=fact.position)

    async def _append(self, frames: Iterable[Frame]) -> None:
        for some in batched(frames, FRAMES_AT_ONCE):
            self._end = await self._feed.append(some, after=self._end)
            self._feeding.frames += len(some)

    async def _keep_noting(self) -> None:
        while True:
            await asyncio.sleep(self._note_every_s)
            await self._note()

    async def _note(self) -> None:
        """A note that fails is made up for by the next one."""
        shown = self._shown
        if shown is not None and shown != self._noted:
            with contextlib.suppress(Unavailable, VersionConflict):
                await self._feed.note(shown)
                self._noted = shown


def _frames(fact: Recorded, message: str, shown: Showing) -> Iterator[Frame]:
    for index, subject in enumerate(shown.subjects):
        yield Frame(
            subject=subject,
            body=shown.body,
            message=message,
            position=fact.position,
            index=index,
            correlation=fact.correlation,
        )


def _behind(last: Frame, frames: Iterable[Frame]) -> Iterable[Frame]:
    """Those of a message that are not there yet, when this is the last one that is."""
    if last.index >= 0:
        return islice(frames, last.index + 1, None)
    return islice(dropwhile(lambda frame: frame.subject != last.subject, frames), 1, None)
