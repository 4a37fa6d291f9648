"""FEED as sockets use it: what is new, as it comes, and what was missed. Implements api.port.FeedReader.

The server republishes each frame on `live.>` with its position and the previous one on the same subject, so
a gap shows. Nothing here waits for a slow socket or knows one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from domain.recorded import FEED
from infra.log.feeding import frame_of
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from infra.nats.wire.errors import ApiFailure, NotServing
from infra.nats.wire.frames import Frame, Stored, parse_headers

SUBJECTS_AT_ONCE_MAX = 16
"""Reads in flight for one call: a socket that follows hundreds of threads must not crowd out the others."""
REACH, REACH_GROWS, PAGE = 256, 8, 64
"""Positions before the end that are looked through first, how many times as many next, and frames read at once."""

FeedCallback = Callable[[int, int, str, bytes], None]
"""position, previous position on the same subject, subject (`feed...`), frame. Must not block."""


class FeedReader:
    """Raw frames of `feed.thread.<id>` and `feed.contact.<id>`."""

    def __init__(self, js: JetStream, guard: Guard) -> None:
        self._js, self._guard = js, guard

    async def epoch(self) -> str:
        return self._guard.epoch(FEED)

    async def bounds(self) -> tuple[int, int]:
        """The first position that is kept and the last one; asked of the leader."""
        info = await self._js.info(FEED)
        if info is None:
            raise NotServing(ApiFailure(503, 0, "there is no stream FEED"))
        last = info.state.last_seq
        return (info.state.first_seq if info.state.messages else last + 1), last

    async def kept_per_subject(self) -> int:
        """How many frames of one subject are kept; older ones make room. 0: there is no bound."""
        info = await self._js.info(FEED)
        if info is None:
            raise NotServing(ApiFailure(503, 0, "there is no stream FEED"))
        return max(0, int(info.config.get("max_msgs_per_subject", 0)))

    async def since(self, subjects: Sequence[str], after: int, limit: int) -> list[tuple[int, str, bytes]]:
        """(position, subject, frame) of the first `limit` frames after a position, over all subjects, in order."""
        places = asyncio.Semaphore(SUBJECTS_AT_ONCE_MAX)

        async def one(subject: str) -> list[tuple[int, str, bytes]]:
            async with places:
                found = await self._js.read(FEED, subject, seq=after + 1, limit=limit)
            return [(stored.sequence, stored.subject, stored.data) for stored in found]

        parts = await asyncio.gather(*(one(subject) for subject in dict.fromkeys(subjects)))
        return list(heapq.merge(*parts))[:limit]

    async def last(self, subjects: Sequence[str]) -> dict[str, int]:
        """The last position on each subject, asked of the leader; subjects without a frame are left out."""
        places = asyncio.Semaphore(SUBJECTS_AT_ONCE_MAX)

        async def one(subject: str) -> Stored | None:
            async with places:
                return await self._js.leader_get(FEED, last_by_subj=subject)

        found = await asyncio.gather(*(one(subject) for subject in dict.fromkeys(subjects)))
        return {stored.subject: stored.sequence for stored in found if stored is not None}

    async def first_after(self, subject: str, event: int) -> int:
        """Where the first frame on a subject stands that shows what is after a position of EVENTS; 0: nowhere.

        Looked for from the end, where it is likely: frames are in the order of EVENTS.
        """
        last = await self._js.leader_get(FEED, last_by_subj=subject)
        if last is None or frame_of(last).position <= event:
            return 0
        reach = REACH
        while True:
            start = max(1, last.sequence - reach)
            page = await self._js.read(FEED, subject, seq=start, limit=PAGE)
            if start == 1 or not page or frame_of(page[0]).position <= event:
                break
            reach *= REACH_GROWS
        while page:
            for stored in page:
                if frame_of(stored).position > event:
                    return stored.sequence
            page = await self._js.read(FEED, subject, seq=page[-1].sequence + 1, limit=PAGE)
        return 0

    async def subscribe(self, subject: str, callback: FeedCallback) -> Callable[[], Awaitable[None]]:
        """Have `callback` called with each frame that comes from now on; what is returned ends that.

        Frames that pass while the connection is lost are not seen: the next one's `previous` tells.
        """
        live = "live." + subject.removeprefix("feed.")

        def on_frame(frame: Frame) -> None:
            headers = parse_headers(frame.headers)
            position = int(headers["Nats-Sequence"])
            callback(position, int(headers["Nats-Last-Sequence"]), headers["Nats-Subject"], frame.data)

        connection = self._js.connection
        subscription = await connection.route_surely(live, on_frame)
        return lambda: connection.unroute(subscription)
