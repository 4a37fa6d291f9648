"""FEED as sockets use it: what is new, as it comes, and what was missed, up to the leader's head.

The server republishes each frame on `live.>` with its position and the previous one on the same subject, so
a gap shows. Nothing here waits for a slow socket or knows one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from domain.recorded import FEED
from infra.nats.frames import Frame, parse_headers
from infra.nats.jetstream import JetStream

SUBJECTS_AT_ONCE_MAX = 16
"""Reads of missed frames in flight for one socket."""

FeedCallback = Callable[[int, int, str, bytes], None]
"""position, previous position on the same subject, subject (`feed...`), frame. Must not block."""


class FeedReader:
    """Raw frames of `feed.thread.<id>` and `feed.contact.<id>`."""

    def __init__(self, js: JetStream) -> None:
        self._js = js

    async def head(self) -> int:
        """The last position of FEED, asked of its leader."""
        info = await self._js.info(FEED)
        return info.state.last_seq if info is not None else 0

    async def since(self, subjects: Sequence[str], after: int, limit: int) -> list[tuple[int, str, bytes]]:
        """(position, subject, frame) of the first `limit` frames after a position, over all subjects, in order."""
        places = asyncio.Semaphore(SUBJECTS_AT_ONCE_MAX)

        async def one(subject: str) -> list[tuple[int, str, bytes]]:
            async with places:
                found = await self._js.read(FEED, subject, seq=after + 1, limit=limit)
            return [(stored.sequence, stored.subject, stored.data) for stored in found]

        parts = await asyncio.gather(*(one(subject) for subject in dict.fromkeys(subjects)))
        return list(heapq.merge(*parts))[:limit]

    async def subscribe(self, subject: str, callback: FeedCallback) -> Callable[[], Awaitable[None]]:
        """Have `callback` called with each new frame on a subject; what is returned ends that.

        Frames that pass while the connection is lost are not seen: the next one's `previous` tells.
        """
        live = "live." + subject.removeprefix("feed.")

        def on_frame(frame: Frame) -> None:
            headers = parse_headers(frame.headers)
            position = int(headers["Nats-Sequence"])
            callback(position, int(headers["Nats-Last-Sequence"]), headers["Nats-Subject"], frame.data)

        connection = self._js.connection
        subscription = await connection.route(live, on_frame)
        return lambda: connection.unroute(subscription)
