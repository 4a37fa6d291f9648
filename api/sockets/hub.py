"""The live hub: follows on FEED what open connections follow, and hands frames on in rounds.

Every follower gets each frame of what it follows once, in order of position: from the moment it joined, or from the
position it names. What a follower missed (it was slow, or the log's connection broke) is read from the log again.
Never waits for a connection and never keeps frames: one that does not keep up is cut off with its position.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from api.about.metrics import Metrics
from api.port import FeedReader
from api.sockets.feed import Feed
from api.sockets.follower import Follower, State
from api.sockets.past import PAGE, Past, Span
from api.sockets.rounds import Round, by_position, rest_s
from api.sockets.wire import Frame, Positions, joined
from domain.errors import Invalid, Unavailable

SLOW, TRY_AGAIN = 4008, 1013
"""Close codes: ours for a reader that does not keep up; RFC 6455's registry for a server that has trouble."""

log = structlog.get_logger("msgxc.api")


@dataclass(frozen=True, slots=True)
class Limits:
    """drain_s: how long a connection may take to read what was written, before it is cut off as slow.

    pending: frames that wait for a round; more stay in the log until there is room. gap_s: until a gap is read from
    the log; then its followers are told to come back. Every `sweep_s` seconds `sweep_feeds` feeds are compared with
    the log, a request each, so that a lost frame shows even if no other follows it.
    """

    drain_s: float = 5.0
    pending: int = 20_000
    gap_s: float = 5.0
    sweep_s: float = 1.0
    sweep_feeds: int = 100


class Closed(Exception):
    """The connection ended meanwhile."""


class Hub:
    """run() must be running for anything to move."""

    def __init__(self, reader: FeedReader, metrics: Metrics, limits: Limits | None = None) -> None:
        self._reader, self._metrics, self._limits = reader, metrics, limits or Limits()
        self._positions: Positions | None = None
        self._kept = 0
        self._head: int | None = None
        self._feeds: dict[str, Feed] = {}
        self._pending: list[Frame] = []
        self._gaps: set[Feed] = set()
        self._suspects: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._rounds())
            group.create_task(self._sweep())

    async def positions(self) -> Positions:
        """How positions of this log are shown. Raises Unavailable."""
        if self._positions is None:
            self._kept = await self._reader.kept_per_subject()
            self._positions = Positions(await self._reader.epoch())
        return self._positions

    def place(self, follower: Follower) -> str:
        """Where it would resume from: all up to there has been written to it. "" until the log has answered."""
        if self._positions is None or self._head is None:
            return ""
        return self._positions.give(follower.cursor or self._head)

    async def look_at_log(self) -> None:
        """So that `place` knows one."""
        if self._positions is None or self._head is None:
            with contextlib.suppress(Unavailable):
                await self.positions()
                await self._bounds()

    async def _bounds(self) -> tuple[int, int]:
        first, last = await self._reader.bounds()
        self._head = max(self._head or 0, last)
        return first, last

    async def follow(
        self,
        follower: Follower,
        subjects: Sequence[str],
        *,
        after: int | None = None,
        greet: Callable[[int], None] | None = None,
    ) -> None:
        """Begin to follow; with `after`, what came since is written first.

        greet: called with the position from which it is live, before any of the new subjects' frames is written.
        Raises Unavailable (nothing new is followed), Invalid for a position that is not there yet, Closed.
        """
        await self.positions()
        async with self._held(follower):
            new = [subject for subject in subjects if subject not in follower.following]
            try:
                first, head = await self._join(follower, new)
                self._assert_reached(after, head)
                if greet is not None:
                    greet(head)
                start = head if after is None else after
                past = await self._fill(follower, dict.fromkeys(new, (start, head)), first)
            except BaseException:
                self.leave(follower, new)
                raise
            new = [subject for subject in new if self._reaches(follower, subject)]
            follower.following.update(dict.fromkeys(new, start))
            follower.raise_floors(new, head)
            follower.cursor = max(follower.cursor, head)
            follower.drop_held(past.shown)
        if not past.is_complete:
            follower.on_incomplete()

    async def resume(self, follower: Follower, after: int) -> bool:
        """Write what the follower missed since a position. Whether all of that is still kept. Raises as follow."""
        await self.positions()
        async with self._held(follower):
            first, head = await self._bounds()
            self._assert_reached(after, head)
            missed = {
                subject: (after, start) for subject, start in follower.following.items() if start > after
            }
            cursor = follower.cursor
            past = await self._fill(follower, missed, first)
            follower.following.update((each, after) for each in missed if each in follower.following)
            follower.cursor = max(follower.cursor, cursor)
            return past.is_complete

    async def assert_reached(self, after: int | None) -> None:
        """Raises Invalid for a position that is not there yet, Unavailable."""
        if after is not None:
            _, head = await self._bounds()
            self._assert_reached(after, head)

    def leave(self, follower: Follower, subjects: Sequence[str]) -> None:
        """Write nothing of these subjects any more. Their feeds end with their last follower."""
        for subject in subjects:
            follower.following.pop(subject, None)
            follower.floors.pop(subject, None)
            feed = self._feeds.get(subject)
            if feed is None:
                continue
            feed.followers.discard(follower)
            if not feed.followers:
                del self._feeds[subject]
                self._gaps.discard(feed)
                self._spawn_close(feed)

    def leave_all(self, follower: Follower) -> None:
        follower.state = State.CLOSED
        follower.caught_up.set()
        follower.held.clear()
        self.leave(follower, list(follower.following))

    def followers_of(self, subject: str) -> list[Follower]:
        feed = self._feeds.get(subject)
        return list(feed.followers) if feed else []

    def fell_behind(self, follower: Follower) -> None:
        """The connection is full: it gets nothing more until it has caught up."""
        if follower.state is State.LIVE and self._group is not None:
            follower.state = State.BEHIND
            follower.caught_up.clear()
            self._group.create_task(self._catch_up(follower))

    def cut_off(self, follower: Follower, code: int, reason: str) -> None:
        """Close with the position to go on from."""
        if follower.state is State.CLOSED:
            return
        place = self.place(follower)
        self.leave_all(follower)
        self._metrics.cut_off.labels(reason).inc()
        log.info("socket_cut_off", reason=reason, position=follower.cursor)
        follower.connection.close(code, f"{reason}; resume at {place}")

    @contextlib.asynccontextmanager
    async def _held(self, follower: Follower) -> AsyncIterator[None]:
        """Keep live frames back while the follower is filled from the log, then write them in order."""
        async with follower.lock:
            while follower.state is State.BEHIND:
                await follower.caught_up.wait()
            if follower.state is State.CLOSED:
                raise Closed
            follower.state = State.HELD
            try:
                yield
            finally:
                if follower.state is State.HELD:
                    self._release(follower)

    def _release(self, follower: Follower) -> None:
        frames = sorted(follower.held, key=by_position)
        follower.held = []
        frames = [f for f in frames if f.subject in follower.following and follower.is_above(f)]
        follower.state = State.LIVE
        self._write(follower, frames)
        if follower.connection.is_full:
            self.fell_behind(follower)

    async def _join(self, follower: Follower, subjects: Sequence[str]) -> tuple[int, int]:
        """Hear of the subjects from now on; the stream's bounds: everything before is at or below the last."""
        for subject in subjects:
            feed = self._feeds.setdefault(subject, Feed(subject))
            feed.followers.add(follower)
            await self._open(feed)
        bounds = await self._bounds()
        if follower.state is State.CLOSED:
            raise Closed
        return bounds

    async def _open(self, feed: Feed) -> None:
        async with feed.lock:
            if feed.is_open:
                return
            if feed.unsubscribe is None:
                feed.unsubscribe = await self._reader.subscribe(feed.subject, partial(self._hear, feed))
            _, feed.position = await self._bounds()
            feed.is_open = True
            early, feed.early = feed.early, []
            for position, previous, data in early:
                self._hear(feed, position, previous, feed.subject, data)

    def _spawn_close(self, feed: Feed) -> None:
        if self._group is not None:
            self._group.create_task(self._close(feed))

    @staticmethod
    async def _close(feed: Feed) -> None:
        async with feed.lock:
            if feed.unsubscribe is not None:
                await feed.unsubscribe()
                feed.unsubscribe, feed.is_open = None, False

    def _hear(self, feed: Feed, position: int, previous: int, _subject: str, data: bytes) -> None:
        """A live frame. One out of order, or over our room, is read from the log in its turn."""
        if not feed.is_open:
            feed.early.append((position, previous, data))
        elif position > feed.position:
            if previous > feed.position or feed.has_gap or len(self._pending) >= self._limits.pending:
                self._note_gap(feed, position)
            else:
                self._accept(feed, position, data)
            self._wake.set()

    def _note_gap(self, feed: Feed, position: int) -> None:
        feed.awaited = max(feed.awaited, position)
        self._gaps.add(feed)

    def _accept(self, feed: Feed, position: int, data: bytes) -> None:
        assert self._positions is not None, "a feed is opened after the epoch is known"
        frame = Frame(position, feed.subject, data, self._positions.give(position))
        if feed.take(frame):
            self._pending.append(frame)

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            # One turn of the loop: what came in the same read of the network makes one round, in order.
            await asyncio.sleep(0)
            while self._pending or self._gaps:
                for feed in list(self._gaps):
                    await self._close_gap(feed)
                began_s = loop.time()
                frames, self._pending = self._pending, []
                written, overflowed = await Round(frames, self._feeds).write()
                self._metrics.frames.inc(written)
                for follower in overflowed:
                    self.cut_off(follower, SLOW, "slow")
                await asyncio.sleep(rest_s(loop.time() - began_s))

    async def _close_gap(self, feed: Feed) -> None:
        """Read what was lost. All rounds wait, so that order is kept over all feeds."""
        self._metrics.gaps.inc()
        try:
            async with asyncio.timeout(self._limits.gap_s):
                while feed.has_gap and len(self._pending) < self._limits.pending:
                    entries = await self._reader.since([feed.subject], feed.position, PAGE)
                    for position, _, data in entries:
                        self._accept(feed, position, data)
                    if not entries:
                        # What was seen live has expired since.
                        feed.awaited = 0
        except (TimeoutError, Unavailable):
            for follower in list(feed.followers):
                self.cut_off(follower, TRY_AGAIN, "the log does not answer")
        if not feed.has_gap:
            self._gaps.discard(feed)

    async def _sweep(self) -> None:
        """A frame that was lost last shows in no later one: ask the log what each subject's last is."""
        place = 0
        while True:
            await asyncio.sleep(self._limits.sweep_s)
            subjects = list(self._feeds)
            if not subjects:
                continue
            place = place if place < len(subjects) else 0
            some = subjects[place : place + self._limits.sweep_feeds]
            place += self._limits.sweep_feeds
            try:
                self._compare(await self._reader.last(some))
            except Unavailable:
                self._suspects.clear()

    def _compare(self, last: dict[str, int]) -> None:
        """A frame counts as lost when it has been missing twice: the first time it may be on its way."""
        missing = {
            subject: position
            for subject, position in last.items()
            if (feed := self._feeds.get(subject)) and feed.is_open and position > feed.position
        }
        for subject in missing.keys() & self._suspects.keys():
            feed = self._feeds[subject]
            if self._suspects[subject] > feed.position:
                self._note_gap(feed, missing[subject])
                self._wake.set()
        self._suspects = missing

    async def _catch_up(self, follower: Follower) -> None:
        """Wait until the connection has taken what it got, then write from the log what it missed."""
        try:
            async with asyncio.timeout(self._limits.drain_s):
                await follower.connection.drained()
            if follower.state is not State.BEHIND:
                return
            follower.state = State.HELD
            first, head = await self._bounds()
            missed = dict.fromkeys(follower.following, (follower.cursor, head))
            past = await self._fill(follower, missed, first)
            if not past.is_complete:
                follower.on_incomplete()
            follower.raise_floors(follower.following, head)
            follower.cursor = max(follower.cursor, head)
            follower.drop_held(past.shown)
        except TimeoutError:
            self.cut_off(follower, SLOW, "slow")
        except Unavailable:
            self.cut_off(follower, TRY_AGAIN, "the log does not answer")
        except Closed:
            return
        finally:
            if follower.state is State.HELD:
                self._release(follower)
            follower.caught_up.set()

    async def _fill(self, follower: Follower, wanted: Mapping[str, Span], first: int) -> Past:
        """Write what the follower missed, as fast as it reads. Raises Closed when it ends, or does not, meanwhile."""
        assert self._positions is not None
        past = Past(self._reader, self._positions, wanted, first=first, kept=self._kept)
        async for frames in past.pages():
            # What it has left meanwhile, by a right that ended, say, is not for it any more.
            self._write(follower, [frame for frame in frames if self._reaches(follower, frame.subject)])
            await self._drained(follower)
        return past

    def _reaches(self, follower: Follower, subject: str) -> bool:
        return (feed := self._feeds.get(subject)) is not None and follower in feed.followers

    async def _drained(self, follower: Follower) -> None:
        try:
            async with asyncio.timeout(self._limits.drain_s):
                await follower.connection.drained()
        except TimeoutError:
            self.cut_off(follower, SLOW, "slow")
        if follower.state is State.CLOSED:
            raise Closed

    def _write(self, follower: Follower, frames: Sequence[Frame]) -> None:
        if frames:
            follower.cursor = frames[-1].position
            follower.connection.write(joined(frames, follower.encoding))
            self._metrics.frames.inc(len(frames))

    @staticmethod
    def _assert_reached(after: int | None, head: int) -> None:
        if after is not None and after > head:
            raise Invalid("this position has not been reached yet; subscribe anew", field="position")
