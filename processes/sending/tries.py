"""What of a slice is tried again, when, and under which names: pure, so that it is the same whenever it is looked at.

Never writes anything: Feedback does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from domain.deliveries.delivery import Dispatch, OutcomeSlice
from domain.deliveries.outcome import Outcome, Retry, Unknown
from domain.deliveries.retry import HALTED, TRIES_MAX, delay_s, next_try, together


class Again(msgspec.Struct, frozen=True):
    """A scheduled try: the dispatch, which of its recipients, and the first of them (for the subject).

    perhaps_sent: as in the dispatch that will be written.
    """

    source: str
    first: int
    which: tuple[int, ...]
    counted: bool = True
    perhaps_sent: tuple[datetime | None, ...] | None = None


class Group(NamedTuple):
    """Recipients of a slice to whom the same happens next. first: names it, no other group of the dispatch has it."""

    first: int
    which: tuple[int, ...]


class Try(NamedTuple):
    """counted: False when the channel was halted, so that nothing was tried."""

    group: Group
    due: datetime
    counted: bool

    def following(self, dispatch: Dispatch) -> Dispatch:
        """Its dispatch, but for what was perhaps sent."""
        return next_dispatch(dispatch, Again(dispatch.subject, *self.group, counted=self.counted))


class Plan(NamedTuple):
    """tries: at most as many as domain.deliveries.retry.together makes, for counted ones and others."""

    tries: Sequence[Try] = ()
    expired: Group | None = None
    exhausted: Group | None = None


def planned(dispatch: Dispatch, ended: OutcomeSlice) -> Plan:
    """Each recipient by its own delay: those whose next try would come too late expire, and nobody else does."""
    waiting = list(_waiting(dispatch, ended))
    expired = [place for place, delay, _ in waiting if _due(dispatch, ended, delay, 0.0) is None]
    late = frozenset(expired)
    exhausted = [
        place
        for place, _, counted in waiting
        if counted and dispatch.attempt >= TRIES_MAX and place not in late
    ]
    over = late.union(exhausted)
    tries = []
    for counted in (True, False):
        delays = [(place, delay) for place, delay, each in waiting if each is counted and place not in over]
        for places, delay in together(delays):
            group = _group(ended, waiting[0][0], places)
            due = _due(dispatch, ended, delay, _jitter(dispatch, group))
            assert due is not None, "each of them is due in time"
            tries.append(Try(group, due, counted))
    return Plan(
        tries,
        _group(ended, waiting[0][0], expired) if expired else None,
        _group(ended, waiting[0][0], exhausted) if exhausted else None,
    )


def _waiting(dispatch: Dispatch, ended: OutcomeSlice) -> Iterator[tuple[int, float, bool]]:
    """(place in the dispatch, least delay in seconds, whether it counts as a try) of whoever has no end yet."""
    for place, result in enumerate(ended.results, ended.first):
        outcome = result.outcome
        if is_open(outcome):
            asked_s = outcome.after_s if isinstance(outcome, Retry) else None
            halted = isinstance(outcome, Retry) and outcome.code == HALTED
            yield place, delay_s(dispatch.attempt, asked_s), not halted


def is_open(outcome: Outcome) -> bool:
    """Whether there is to be another try."""
    return isinstance(outcome, Retry | Unknown)


def _due(dispatch: Dispatch, ended: OutcomeSlice, delay_s: float, jitter: float) -> datetime | None:
    return next_try(delay_s, now=ended.ended_at, expires_at=dispatch.expires_at, jitter=jitter)


def _group(ended: OutcomeSlice, first_open: int, places: Sequence[int]) -> Group:
    """Whoever comes first in the slice has the slice's own name."""
    return Group(ended.first if places[0] == first_open else places[0], tuple(places))


def _jitter(dispatch: Dispatch, group: Group) -> float:
    """Spreads load, and is the same each time the outcome is looked at: either there is a next try, or an end."""
    return random.Random(f"{dispatch.id}-{group.first}").random()  # noqa: S311  hides nothing


def next_dispatch(dispatch: Dispatch, again: Again) -> Dispatch:
    """The dispatch of the next try, to those recipients that are not done, sealed as before."""
    return msgspec.structs.replace(
        dispatch,
        page=_page(dispatch, again.first),
        attempt=dispatch.attempt + (1 if again.counted else 0),
        halts=dispatch.halts + (0 if again.counted else 1),
        recipients=tuple(dispatch.recipients[i] for i in again.which),
        perhaps_sent=again.perhaps_sent,
    )


def _page(dispatch: Dispatch, first: int) -> str:
    """No two tries of a page have the same, although the places of a try are counted from 0 again."""
    if first == 0:
        return dispatch.page
    return f"{dispatch.page}{'' if dispatch.is_first else f'r{dispatch.round}'}f{first}"


def retry_id(dispatch: Dispatch, group: Group) -> str:
    """Of the schedule of a group's next try."""
    return f"retry-{dispatch.channel}-{dispatch.id}-{group.first}"


def due_subject(id: str) -> str:
    """Where a schedule of ours fires."""
    return f"due.retry.{id}"
