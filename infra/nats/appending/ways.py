"""Whether saves of one event finish sooner side by side or together in batches, learnt from the load there is.

What counts is the time that something is under way for each save that finishes: under load that is throughput, for
a single caller its wait. What an append costs among many does not show from a few, or from one at a time; so now and
then the other way gets a short stretch of the traffic, in turn with the usual one. It knows nothing of streams, and
must never hold a save up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STRETCH_SAVES = 64
TURNS = 3
"""A stretch lets each caller save so many times, and is never shorter: a batch's members finish all at once, and where
their batches begin and end within a stretch must not decide.
"""

ROUNDS = 2
"""How often a trial compares the two: once could be a stall of the disk."""

MARGIN = 1.1
"""So much better the other way must do: noise alone must not make us go to and fro."""

CLEARLY = 3.0
"""So many times better or worse ends a trial at once, so that nobody waits for more of the dearer way."""

CHANGED = 2.0
"""When a save takes so many times more, or less, than when both were compared, the result holds no longer."""

LOST_SHARE, LOST_SHARE_CHANGED = 0.01, 0.05
"""Of the time, that trials of the dearer way may lose; and where that was thought of another disk or load."""

PAUSE_S, PAUSE_S_MAX = 1.0, 64.0
"""From one trial to the next: twice as long each time that nothing new came out."""


class Ways:
    """`together` says which way the next saves go. Call `began` for each, and `ended` for those that end together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.together = False
        self.under_way = 0
        self._usual = False  # what `together` is when nothing is being tried
        self._busy_s, self._busy_since_s = 0.0, 0.0
        self._left, self._size = STRETCH_SAVES, STRETCH_SAVES
        self._settling = False
        self._callers = 0  # the most that were under way at once in this stretch
        self._others_s: list[float] = []  # what a save took in the stretches of a trial, the other way
        self._usuals_s: list[float] = []  # and the usual way, in turn
        self._usual_s = 0.0  # what a save takes the usual way, in its last stretch
        self._compared_s = 0.0  # and took when it was last compared
        self._lost_s = 0.0  # what the present trial took longer than the usual way would have
        self._due_s, self._due_changed_s = 0.0, 0.0
        self._pause_s = PAUSE_S

    def began(self) -> None:
        if not self.under_way:
            self._busy_since_s = self._clock()
        self.under_way += 1
        self._callers = max(self._callers, self.under_way)

    def ended(self, saves: int) -> None:
        self.under_way -= saves
        self._left -= saves
        if not self.under_way:
            self._busy_s += self._clock() - self._busy_since_s
        if self._left <= 0:
            self._turn()
        elif self.together != self._usual and self._is_lost():
            self._lost_s += self._lost()
            self._conclude()

    def _busy(self) -> float:
        """Seconds since the stretch began with something under way."""
        return self._busy_s + (self._clock() - self._busy_since_s if self.under_way else 0.0)

    def _lost(self) -> float:
        """Seconds that this stretch of the other way has taken longer than the usual way would have."""
        return max(0.0, self._busy() - self._usual_s * (self._size - self._left))

    def _is_lost(self) -> bool:
        return not self._settling and self._busy() > CLEARLY * self._size * self._usual_s

    def _turn(self) -> None:
        """As many as there were have finished: the end of settling, or of a stretch."""
        if self._settling:
            self._measure()
            return
        each_s = self._busy() / (self._size - self._left)
        if self.together != self._usual:
            self._lost_s += self._lost()
            self._others_s.append(each_s)
            if each_s * CLEARLY < self._usual_s:
                self._adopt(each_s)
            else:
                self._switch(together=self._usual)
            return
        self._usual_s = each_s
        if self._others_s:
            self._usuals_s.append(each_s)
            if len(self._usuals_s) == ROUNDS:
                self._decide()
                return
        if self._others_s or self._is_due():
            self._switch(together=not self._usual)
        else:
            self._measure()

    def _is_due(self) -> bool:
        """Whether to compare again; a caller alone is served the same either way."""
        if self._callers < 2:
            return False
        if not self._compared_s / CHANGED < self._usual_s < self._compared_s * CHANGED:
            self._pause_s, self._due_s = PAUSE_S, min(self._due_s, self._due_changed_s)
        return self._clock() >= self._due_s

    def _decide(self) -> None:
        if sum(self._others_s) * MARGIN < sum(self._usuals_s):
            self._adopt(self._others_s[-1])
        else:
            self._conclude()

    def _adopt(self, each_s: float) -> None:
        """The other way is the usual one from now on: a save takes so long, and what it took before is the dear one."""
        self._lost_s = (self._usual_s - each_s) * self._size
        self._usual, self._usual_s, self._pause_s = not self._usual, each_s, PAUSE_S
        self._conclude()

    def _conclude(self) -> None:
        """The end of a trial; the next one is not before its time."""
        now_s = self._clock()
        self._due_s = now_s + max(self._lost_s / LOST_SHARE, self._pause_s)
        self._due_changed_s = now_s + self._lost_s / LOST_SHARE_CHANGED
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        self._compared_s, self._lost_s = self._usual_s, 0.0
        self._others_s, self._usuals_s = [], []
        self._switch(together=self._usual)

    def _switch(self, *, together: bool) -> None:
        """From now on this way; what is under way the former one is not counted."""
        self.together = together
        self._settling = self.under_way > 0
        if self._settling:
            self._left = self.under_way
        else:
            self._measure()

    def _measure(self) -> None:
        self._settling = False
        self._left = self._size = max(STRETCH_SAVES, TURNS * self._callers)
        self._callers = self.under_way
        self._busy_s, self._busy_since_s = 0.0, self._clock()
