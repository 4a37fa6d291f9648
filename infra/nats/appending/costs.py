"""Whether a number of single appends, one after another, is cheaper than one batch, from what they last cost."""

from __future__ import annotations

BATCH_S, SINGLE_S = 0.005, 0.0004
"""What a batch and a single append cost on a quiet disk; what they cost here is learnt from each commit."""

LEARNING_RATE = 0.2
TRY_OTHER_WAY_EVERY = 64
"""Commits after which the way that seemed dearer is tried again, in case that the disk has changed."""


class Costs:
    """What each took lately."""

    def __init__(self) -> None:
        self._batch_s, self._single_s, self._turn = BATCH_S, SINGLE_S, 0

    def prefer_batch(self, singles: int) -> bool:
        self._turn += 1
        side_by_side_s = singles * self._single_s
        cheaper = side_by_side_s > self._batch_s
        close = self._batch_s / 4 < side_by_side_s < self._batch_s * 4
        return cheaper != (close and self._turn % TRY_OTHER_WAY_EVERY == 0)

    def learn_batch(self, elapsed_s: float) -> None:
        self._batch_s += (elapsed_s - self._batch_s) * LEARNING_RATE

    def learn_singles(self, singles: int, elapsed_s: float) -> None:
        self._single_s += (elapsed_s / singles - self._single_s) * LEARNING_RATE
