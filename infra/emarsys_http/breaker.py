"""A circuit breaker: a service that fails again and again is left alone for a while, and its callers told at once.

Owns the count of failures and the time until the next trial. Knows no service and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from domain.errors import Unavailable

log = structlog.get_logger()

FAILURES_MAX: Final = 5
"""In a row; fewer happen whenever a service is started anew."""
OPEN_S: Final = 5.0
"""Long enough for a service to breathe, short enough that nobody waits for it once it is back."""


class Breaker:
    """Closed: all calls pass. Open: none. After OPEN_S one call passes as a trial, and decides."""

    def __init__(self, name: str, *, now_s: Callable[[], float]) -> None:
        self._name, self._now_s = name, now_s
        self._failures = 0
        self._open_until_s = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_MAX

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call. Unavailable raised within is a failure, a normal end a success; all else is neither.

        Raises Unavailable at once while it is open.
        """
        is_trial = self._admit()
        try:
            yield
        except Unavailable as error:
            self._failed(error)
            raise
        else:
            self._succeeded()
        finally:
            if is_trial:
                self._trying = False

    def _admit(self) -> bool:
        """Whether this call is the trial."""
        if not self.is_open:
            return False
        if self._trying or self._now_s() < self._open_until_s:
            raise Unavailable(f"{self._name} failed again and again; it is tried again in a moment")
        self._trying = True
        return True

    def _failed(self, error: Unavailable) -> None:
        self._failures += 1
        self._open_until_s = self._now_s() + OPEN_S
        if self._failures == FAILURES_MAX:
            log.warning("service-left-alone", service=self._name, reason=error.detail)

    def _succeeded(self) -> None:
        if self.is_open:
            log.info("service-back", service=self._name)
        self._failures = 0
