"""One subject that this process follows: who listens, and how far it has come."""

from __future__ import annotations

import asyncio

from api.port import Unsubscribe
from api.sockets.follower import Follower
from api.sockets.wire import Frame

WINDOW = 512
"""Message ids remembered per subject. A message is appended twice only when its frame, the newest one, was purged."""

Live = tuple[int, int, bytes]
"""(position, previous position on the subject, frame)."""


class Feed:
    """position: the last one taken in order. awaited: one that is there but was not taken in order; 0: none.

    early: what came live before the feed knew where it starts.
    """

    __slots__ = (
        "_shown",
        "awaited",
        "early",
        "followers",
        "is_open",
        "lock",
        "position",
        "subject",
        "unsubscribe",
    )

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.followers: set[Follower] = set()
        self.position = self.awaited = 0
        self.is_open = False
        self.lock = asyncio.Lock()
        self.early: list[Live] = []
        self.unsubscribe: Unsubscribe | None = None
        self._shown: dict[str, None] = {}

    def take(self, frame: Frame) -> bool:
        """Whether the frame is new: neither its position nor its message has been taken before."""
        if frame.position <= self.position:
            return False
        self.position = frame.position
        return remember(self._shown, frame.mid, WINDOW)

    @property
    def has_gap(self) -> bool:
        return self.awaited > self.position


def remember(shown: dict[str, None], mid: str, size: int) -> bool:
    """Whether a message id is new; it is kept among the last `size`. "" is always new."""
    if not mid:
        return True
    if mid in shown:
        return False
    if len(shown) >= size:
        del shown[next(iter(shown))]
    shown[mid] = None
    return True
