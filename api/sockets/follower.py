"""One open connection as the hub sees it: what it follows, how far it has got, and whether it keeps up."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Container, Iterable
from typing import Protocol
from uuid import UUID

from api.sockets.wire import Encoding, Frame
from domain.context import Caller


class State(enum.Enum):
    """LIVE gets each round. HELD is being filled from the log: its live frames wait. BEHIND gets nothing until it
    has taken what was written; then it is filled from the log.
    """

    LIVE = "live"
    HELD = "held"
    BEHIND = "behind"
    CLOSED = "closed"


class Connection(Protocol):
    """Where a follower's bytes go."""

    @property
    def is_full(self) -> bool:
        """Whether so much is buffered that the other end must take some before more is written."""
        ...

    def write(self, data: bytes) -> None:
        """Hand over at once; never blocks, and does nothing once closed."""
        ...

    async def drained(self) -> None:
        """Return when it is not full any more, or closed."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what is buffered, then close. A second call does nothing."""
        ...


class Follower:
    """cursor: all frames up to it, on all that is followed, have been written.

    following: for each subject the position after which everything has been, or will be, written. floors: for each
    the position up to which live frames are passed over, since they were read from the log; floor: the highest.
    on_incomplete: called when some of what it missed is not kept any more.
    """

    __slots__ = (
        "caller",
        "caught_up",
        "connection",
        "contact",
        "cursor",
        "encoding",
        "floor",
        "floors",
        "following",
        "held",
        "lock",
        "on_incomplete",
        "state",
    )

    def __init__(self, connection: Connection, encoding: Encoding) -> None:
        self.connection, self.encoding = connection, encoding
        self.caller: Caller | None = None
        self.contact: UUID | None = None
        self.following: dict[str, int] = {}
        self.floors: dict[str, int] = {}
        self.floor = 0
        self.state = State.LIVE
        self.held: list[Frame] = []
        self.cursor = 0
        self.lock = asyncio.Lock()
        self.caught_up = asyncio.Event()
        self.on_incomplete: Callable[[], None] = _nothing

    def raise_floors(self, subjects: Iterable[str], position: int) -> None:
        """Live frames of these subjects begin after a position."""
        self.floors.update(dict.fromkeys(subjects, position))
        self.floor = max(self.floor, position)

    def drop_held(self, shown: Container[str]) -> None:
        """A held frame may be a message that was appended twice, and read from the log just now."""
        self.held = [frame for frame in self.held if frame.mid not in shown]

    def is_above(self, frame: Frame) -> bool:
        """Whether a live frame is still to be written."""
        return frame.position > self.floors.get(frame.subject, 0)


def _nothing() -> None:
    """Nobody is to be told."""
