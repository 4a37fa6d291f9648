"""When an unfinished send is tried again: a pure function of its age and of what the provider asked for."""

from __future__ import annotations

from datetime import datetime, timedelta

TRIES_MAX = 10
"""With the delays below the last try comes about six hours after the first."""
DELAY_S_FIRST = 1.0
DELAY_S_MAX = 7_200.0
GROWTH = 3.0
HALTED = "channel-halted"
"""Code of a Retry that is our own configuration's fault: it doesn't count as a try."""


def delay_s(tries: int, asked_s: float | None, jitter: float) -> float:
    """Seconds until the next try. tries: made so far, from 1. jitter: 0 to 1, spread over a fifth of the delay.

    A provider's own wish is the least we wait.
    """
    grown = min(DELAY_S_FIRST * GROWTH ** (tries - 1), DELAY_S_MAX)
    return max(grown, asked_s or 0.0) * (1.0 + 0.2 * jitter)


def next_try(
    *, tries: int, asked_s: float | None, now: datetime, expires_at: datetime, jitter: float
) -> datetime | None:
    """When to try again, None when the message will have expired by then."""
    due = now + timedelta(seconds=delay_s(tries, asked_s, jitter))
    return due if due < expires_at else None
