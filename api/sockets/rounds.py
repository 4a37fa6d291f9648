"""One round: what has come since the last one, to everyone who follows it, in one write each.

Under load many frames make one write; idle, each frame is its own round. Order by position is kept over all that one
connection follows. Never waits for a connection.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from api.sockets.feed import Feed
from api.sockets.follower import Follower, State
from api.sockets.wire import Encoding, Frame, joined

WRITES_PER_TURN = 250
"""Writes between two turns of the event loop: about 2 ms, so that requests beside a round stay quick."""
HELD_MAX = 10_000
"""Frames that wait for one connection while it is filled from the log."""

by_position = attrgetter("position")


class Round:
    """frames: in any order. Subjects that nobody follows any more are passed over."""

    def __init__(self, frames: Iterable[Frame], feeds: Mapping[str, Feed]) -> None:
        self._frames: defaultdict[str, list[Frame]] = defaultdict(list)
        for frame in sorted(frames, key=by_position):
            self._frames[frame.subject].append(frame)
        self._feeds = [feeds[subject] for subject in self._frames if subject in feeds]
        self._merged: dict[tuple[str, ...], list[Frame]] = {}
        self._bytes: dict[tuple[tuple[str, ...], Encoding], bytes] = {}

    async def write(self) -> tuple[int, list[Follower]]:
        """How many frames were written, and the followers whose hold has overflowed."""
        written, overflowed = 0, []
        for number, (follower, subjects) in enumerate(self._plan(), 1):
            if follower.state is State.LIVE:
                written += self._write_to(follower, subjects)
            elif follower.state is State.HELD:
                follower.held += self._frames_of(subjects)
                if len(follower.held) > HELD_MAX:
                    overflowed.append(follower)
            if number % WRITES_PER_TURN == 0:
                await asyncio.sleep(0)
        return written, overflowed

    def _plan(self) -> Iterable[tuple[Follower, tuple[str, ...]]]:
        """Who gets which subjects' frames; a snapshot, since writing may change who follows."""
        if len(self._feeds) == 1:
            subjects = (self._feeds[0].subject,)
            return [(follower, subjects) for follower in self._feeds[0].followers]
        plan: dict[Follower, tuple[str, ...]] = {}
        for feed in self._feeds:
            for follower in feed.followers:
                plan[follower] = (*plan.get(follower, ()), feed.subject)
        return list(plan.items())

    def _write_to(self, follower: Follower, subjects: tuple[str, ...]) -> int:
        frames = self._frames_of(subjects)
        follower.cursor = max(follower.cursor, frames[-1].position)
        if frames[0].position <= follower.floor:
            # It has just joined: some of these may have been read from the log for it.
            frames = [frame for frame in frames if follower.is_above(frame)]
            follower.connection.write(joined(frames, follower.encoding))
            return len(frames)
        key = (subjects, follower.encoding)
        data = self._bytes.get(key)
        if data is None:
            data = self._bytes[key] = joined(frames, follower.encoding)
        follower.connection.write(data)
        return len(frames)

    def _frames_of(self, subjects: tuple[str, ...]) -> Sequence[Frame]:
        frames = self._merged.get(subjects)
        if frames is None:
            every = [frame for subject in subjects for frame in self._frames[subject]]
            frames = self._merged[subjects] = sorted(every, key=by_position)
        return frames
