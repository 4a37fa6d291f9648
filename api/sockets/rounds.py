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
"""Writes between two turns of the event loop: 2 to 3 ms. In shorter ones what follows from messages that are shown
already, which is more work than showing them, comes between a thousand sockets ten times: the last get theirs later.
"""
HELD_MAX = 10_000
"""Frames that wait for one connection while it is filled from the log."""

REST_SHARE, REST_S_MAX = 3, 0.02
"""After a round the hub rests three times as long as that took, so that rounds take a quarter of a process at most, but
not longer than 20 ms. Hot path: what comes meanwhile goes out joined, and a write to a socket costs the kernel the same
whatever is in it. With 12 ms, a thousand sockets' rounds take so much that all is later again; with 30, all waits.
"""
REST_FROM_S = 0.002
"""A shorter round, to some two hundred sockets, needs no rest."""

by_position = attrgetter("position")


class Share:
    """What the followers of the same subjects get of a round: the frames in order, and their bytes once an encoding."""

    __slots__ = ("_socket", "_stream", "first", "frames", "last")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.first, self.last = frames[0].position, frames[-1].position
        self._socket = self._stream = b""

    def bytes_for(self, encoding: Encoding) -> bytes:
        # An attribute each: a dict of encodings would call Enum.__hash__, which is Python, for every follower.
        if encoding is Encoding.SOCKET:
            self._socket = self._socket or joined(self.frames, encoding)
            return self._socket
        self._stream = self._stream or joined(self.frames, encoding)
        return self._stream


class Round:
    """frames: in any order. Subjects that nobody follows any more are passed over."""

    def __init__(self, frames: Iterable[Frame], feeds: Mapping[str, Feed]) -> None:
        self._frames: defaultdict[str, list[Frame]] = defaultdict(list)
        for frame in sorted(frames, key=by_position):
            self._frames[frame.subject].append(frame)
        self._feeds = [feeds[subject] for subject in self._frames if subject in feeds]
        self._shares: dict[tuple[str, ...], Share] = {}

    async def write(self) -> tuple[int, list[Follower]]:
        """How many frames were written, and the followers whose hold has overflowed.

        Hot path: fifty messages a second to a thousand sockets are fifty thousand turns of this loop.
        """
        live, written, overflowed = State.LIVE, 0, []
        for number, (follower, share) in enumerate(self._plan(), 1):
            if follower.state is live:
                follower.cursor = max(follower.cursor, share.last)
                if share.first > follower.floor:
                    follower.connection.write(share.bytes_for(follower.encoding))
                    written += len(share.frames)
                else:
                    written += _write_above_floor(follower, share)
            elif follower.state is State.HELD:
                follower.held += share.frames
                if len(follower.held) > HELD_MAX:
                    overflowed.append(follower)
            if number % WRITES_PER_TURN == 0:
                await asyncio.sleep(0)
        return written, overflowed

    def _plan(self) -> Iterable[tuple[Follower, Share]]:
        """Who gets which frames; a snapshot, since writing may change who follows."""
        if len(self._feeds) == 1:
            share = self._share((self._feeds[0].subject,))
            return [(follower, share) for follower in self._feeds[0].followers]
        plan: dict[Follower, tuple[str, ...]] = {}
        for feed in self._feeds:
            for follower in feed.followers:
                plan[follower] = (*plan.get(follower, ()), feed.subject)
        return [(follower, self._share(subjects)) for follower, subjects in plan.items()]

    def _share(self, subjects: tuple[str, ...]) -> Share:
        share = self._shares.get(subjects)
        if share is None:
            every = [frame for subject in subjects for frame in self._frames[subject]]
            share = self._shares[subjects] = Share(sorted(every, key=by_position))
        return share


def _write_above_floor(follower: Follower, share: Share) -> int:
    """The follower has just joined: some of these may have been read from the log for it."""
    frames = [frame for frame in share.frames if follower.is_above(frame)]
    follower.connection.write(joined(frames, follower.encoding))
    return len(frames)


def rest_s(took_s: float) -> float:
    """How long the next round waits after one that took so long."""
    return min(took_s * REST_SHARE, REST_S_MAX) if took_s > REST_FROM_S else 0.0
