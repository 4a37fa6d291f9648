"""What a follower has missed, read from the log in order: each message once, and whether all of it is still kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping

from api.port import FeedReader
from api.sockets.feed import remember
from api.sockets.wire import Frame, Positions

PAGE = 250
"""Frames read from the log at once."""
LOOK_BACK = 256
"""Positions before the start that are looked through for messages that were appended twice."""
SHOWN_MAX = 10_000
"""Message ids remembered while one follower is filled."""

Span = tuple[int, int]
"""(after, until]: positions of one subject that are wanted."""


class Past:
    """One reading. first: the first position that the stream still keeps; kept: frames kept of one subject, 0: all.

    shown: messages that were read, those just before the start included.
    """

    def __init__(
        self, reader: FeedReader, positions: Positions, wanted: Mapping[str, Span], *, first: int, kept: int
    ) -> None:
        self._reader, self._positions, self._kept = reader, positions, kept
        self._wanted = {subject: span for subject, span in wanted.items() if span[0] < span[1]}
        self._counts: Counter[str] = Counter()
        self._too_old = any(first > after + 1 for after, _ in self._wanted.values())
        self.shown: dict[str, None] = {}

    @property
    def is_complete(self) -> bool:
        """Once all has been read: whether nothing of it had aged out, or had made room for newer frames."""
        full = bool(self._kept) and any(count >= self._kept for count in self._counts.values())
        return not (self._too_old or full)

    async def pages(self) -> AsyncIterator[list[Frame]]:
        """The frames, in order of position. Raises Unavailable."""
        spans = self._wanted.values()
        place = max(0, min((after for after, _ in spans), default=0) - LOOK_BACK)
        end = max((until for _, until in spans), default=0)
        while place < end:
            entries = await self._reader.since(list(self._wanted), place, PAGE)
            yield [frame for entry in entries if (frame := self._frame(*entry)) is not None]
            if len(entries) < PAGE:
                return
            place = entries[-1][0]

    def _frame(self, position: int, subject: str, data: bytes) -> Frame | None:
        after, until = self._wanted[subject]
        self._counts[subject] += position > after
        frame = Frame(position, subject, data, self._positions.give(position))
        is_new = position <= until and remember(self.shown, frame.mid, SHOWN_MAX)
        return frame if is_new and position > after else None
