"""When unfinished sends are tried again: a pure function of their age and of what the provider asked for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

TRIES_MAX = 10
"""With the delays below the last try comes about six hours after the first."""
DELAY_S_FIRST = 1.0
DELAY_S_MAX = 7_200.0
GROWTH = 3.0
SPREAD = 0.2
"""Of a delay, by which its end is jittered, so that what was refused together does not come back together."""
TOGETHER = 1.25
"""Those who wait at most so many times as long as the first of them are tried together, when the last of them is due.
From a second to a month that makes 67 groups: no slice has more schedules.
"""
HALTED = "channel-halted"
"""Code of a Retry that is our own configuration's fault: it doesn't count as a try."""


def delay_s(tries: int, asked_s: float | None) -> float:
    """Seconds until the next try at the earliest. tries: made so far, from 1. A provider's own wish is the least."""
    grown = min(DELAY_S_FIRST * GROWTH ** (tries - 1), DELAY_S_MAX)
    return max(grown, asked_s or 0.0)


def next_try(delay_s: float, *, now: datetime, expires_at: datetime, jitter: float) -> datetime | None:
    """When to try again, None when the message will have expired by then. jitter: 0 to 1; it lets nothing expire."""
    due = now + timedelta(seconds=delay_s)
    if due >= expires_at:
        return None
    room = (expires_at - due) / 2
    return due + min(timedelta(seconds=SPREAD * delay_s), room) * jitter


def together(delays: Iterable[tuple[int, float]]) -> list[tuple[tuple[int, ...], float]]:
    """Whom to try again together, and after how long: (places, seconds), from (place, seconds) of each."""
    groups: list[tuple[list[int], float, float]] = []
    for place, delay in sorted(delays, key=lambda each: (each[1], each[0])):
        if groups and delay <= groups[-1][1] * TOGETHER:
            places, shortest, _ = groups.pop()
            groups.append(([*places, place], shortest, delay))
        else:
            groups.append(([place], delay, delay))
    return [(tuple(sorted(places)), longest) for places, _, longest in groups]
