"""When a service that doesn't answer is left alone: it must not hold those up whose messages go elsewhere.

Owns what is known of one service's pace. Pure: times are given, in seconds of one clock. Never loses anything: who may
not go now is told when.
"""

from __future__ import annotations

import msgspec

PATIENCE_S_MIN = 3.0
"""What a service gets for its part of a slice; push services take a tenth of it."""
PATIENCE_FACTOR = 3.0
"""A service that is slow but answers gets so much more than it took lately: hurried, it would be sent to again."""
OPEN_S_MIN, OPEN_S_MAX = 10.0, 60.0
"""Between tries of a silent service: doubled after each in vain."""
PROBE_S = 10.0
"""A try's own patience: longer, so that a service which has only become slow is found to be alive."""
PROBE_SENDS_MAX = 5
"""What a try risks: each may have been taken though no answer came."""


class Leave(msgspec.Struct, frozen=True):
    """How many may go now, and how long they may take; when the others may ask again."""

    sends: int
    patience_s: float
    others_after_s: float = 0.0
    is_probe: bool = False


class Circuit:
    """Closed: all may go. Open: none, but for a few now and then, whose answers close it."""

    def __init__(self) -> None:
        self._patience_s = PATIENCE_S_MIN
        self._open_s = self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._open_s > 0.0

    def admit(self, sends: int, now: float) -> Leave:
        if not self.is_open:
            return Leave(sends, self._patience_s)
        if now < self._open_until:
            return Leave(0, 0.0, self._open_until - now)
        self._open_until = now + PROBE_S  # one try at a time; the next, should nobody hear of this one
        return Leave(min(sends, PROBE_SENDS_MAX), PROBE_S, OPEN_S_MIN, is_probe=True)

    def note(self, leave: Leave, *, answered: int, given_s: float, took_s: float, now: float) -> bool:
        """What became of those that went. given_s: how long they had. Whether it is open from now on, and was not.

        What fails at once holds nobody up, and who had less time than PATIENCE_S_MIN proves nothing.
        """
        if answered * 2 >= leave.sends or took_s < min(given_s, PATIENCE_S_MIN):
            self._open_s = 0.0
            self._patience_s = max(PATIENCE_S_MIN, took_s * PATIENCE_FACTOR)
            return False
        if given_s < PATIENCE_S_MIN or (self.is_open and not leave.is_probe):
            return False
        opens = not self.is_open
        self._open_s = min(max(OPEN_S_MIN, self._open_s * 2), OPEN_S_MAX)
        self._open_until = now + self._open_s
        return opens
