"""A circuit breaker: a service that fails again and again is left alone for a while, and its callers told at once.

So is a question that fails again and again, by itself: it counts once among the service's failures, since one record
that the service stumbles over must not cost all others. Owns the counts of failures and the time until the next trial.
Knows no service and never waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from domain.errors import Unavailable

log = structlog.get_logger()

FAILURES_MAX: Final = 5
"""In a row; fewer happen whenever a service is started anew."""
OPEN_S: Final = 5.0
"""Long enough for a service to breathe, short enough that nobody waits for it once it is back."""
QUESTIONS_MAX: Final = 1_000
"""Questions that failed, remembered until they are answered; the one not asked for longest is forgotten first."""


class _Failures(msgspec.Struct, frozen=True):
    """Of one question, in a row, and when the last was."""

    times: int = 0
    last_s: float = 0.0


class Breaker:
    """Closed: all calls pass. Open: none. After OPEN_S one call passes as a trial, and decides.

    question: a number that stands for what is asked. One that failed FAILURES_MAX times opens it for itself; as many
    different ones, while nothing at all was answered, open it for all.
    """

    def __init__(self, name: str, *, now_s: Callable[[], float]) -> None:
        self._name, self._now_s = name, now_s
        self._failures: OrderedDict[int, _Failures] = OrderedDict()
        self._unanswered: set[int] = set()
        self._failed_s = 0.0
        self._trying: set[int | None] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is anything that is not asked."""
        return self._is_open_for_all or any(each.times >= FAILURES_MAX for each in self._failures.values())

    def is_trial(self, question: int) -> bool:
        """Whether this question would be a trial now."""
        return self._is_open_for(question) and self._is_due(question)

    @contextmanager
    def call(self, question: int) -> Iterator[None]:
        """Around one call. Unavailable raised within is a failure, a normal end a success; all else is neither.

        Raises Unavailable at once while it is open.
        """
        is_trial = self._is_open_for(question)
        if is_trial and not self._is_due(question):
            raise Unavailable(f"{self._name} failed again and again; it is tried again in a moment")
        tried = self._tried_with(question)
        if is_trial:
            self._trying.add(tried)
        try:
            yield
        except Unavailable as error:
            self._failed(question, error)
            raise
        else:
            self._answered(question)
        finally:
            if is_trial:
                self._trying.discard(tried)

    @property
    def _is_open_for_all(self) -> bool:
        return len(self._unanswered) >= FAILURES_MAX

    def _is_open_for(self, question: int) -> bool:
        return self._is_open_for_all or self._of(question).times >= FAILURES_MAX

    def _is_due(self, question: int) -> bool:
        """For a trial: one at a time."""
        if self._tried_with(question) in self._trying:
            return False
        if not self._is_open_for_all:
            return self._now_s() >= self._of(question).last_s + OPEN_S
        # Who never failed is first: where only some records are faulty, it is these that are asked for all the time.
        wait_s = 2 * OPEN_S if question in self._failures else OPEN_S
        return self._now_s() >= self._failed_s + wait_s

    def _tried_with(self, question: int) -> int | None:
        """What a trial of this question is for: None for all."""
        return None if self._is_open_for_all else question

    def _of(self, question: int) -> _Failures:
        return self._failures.get(question) or _Failures()

    def _failed(self, question: int, error: Unavailable) -> None:
        self._failed_s, was_open = self._now_s(), self._is_open_for_all
        failures = _Failures(self._of(question).times + 1, self._failed_s)
        self._failures[question] = failures
        self._failures.move_to_end(question)
        if len(self._failures) > QUESTIONS_MAX:
            self._failures.popitem(last=False)
        # What failed before, and fails though others were answered meanwhile, says nothing of the service.
        if not was_open and failures.times == 1:
            self._unanswered.add(question)
        if self._is_open_for_all and not was_open:
            log.warning("service-left-alone", service=self._name, reason=error.detail)
        elif failures.times == FAILURES_MAX:
            log.warning("question-left-alone", service=self._name, reason=error.detail)

    def _answered(self, question: int) -> None:
        if self._is_open_for_all:
            log.info("service-back", service=self._name)
        self._failures.pop(question, None)
        self._unanswered.clear()
