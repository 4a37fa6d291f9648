"""A service that fails again and again is left alone, and found again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid, Unavailable
from infra.emarsys_http.breaker import FAILURES_MAX, OPEN_S, Breaker


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def call(breaker: Breaker, error: Exception | None = None) -> bool:
    """Whether the call passed."""
    passed = False
    with suppress(Unavailable, Invalid), breaker.call():
        passed = True
        if error is not None:
            raise error
    return passed


def broken(clock: Callable[[], float]) -> Breaker:
    breaker = Breaker("the service", now_s=clock)
    for _ in range(FAILURES_MAX):
        assert call(breaker, Unavailable("away"))
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """Then callers are told at once, with the service's name, and nothing is asked."""
    breaker = broken(Clock())
    assert breaker.is_open
    with pytest.raises(Unavailable, match="the service failed"), breaker.call():
        raise AssertionError("the call passed")


def test_a_success_between_failures_keeps_it_closed() -> None:
    """A service that is started anew fails some calls: that is no reason."""
    breaker = Breaker("the service", now_s=Clock())
    for _ in range(3 * FAILURES_MAX):
        call(breaker, Unavailable("away"))
        call(breaker)
    assert not breaker.is_open


def test_after_a_while_one_call_tries() -> None:
    """The others go on being told at once, until it is known how that one ended."""
    clock = Clock()
    breaker = broken(clock)
    clock.now_s += OPEN_S
    with breaker.call():
        assert not call(breaker)
    assert not breaker.is_open
    assert call(breaker)


def test_a_trial_that_fails_leaves_it_open() -> None:
    """For as long again."""
    clock = Clock()
    breaker = broken(clock)
    clock.now_s += OPEN_S
    assert call(breaker, Unavailable("away"))
    clock.now_s += OPEN_S / 2
    assert not call(breaker)
    clock.now_s += OPEN_S / 2
    assert call(breaker)
    assert not breaker.is_open


def test_a_trial_that_is_given_up_decides_nothing() -> None:
    """The caller went away: the next one tries."""
    clock = Clock()
    breaker = broken(clock)
    clock.now_s += OPEN_S
    with suppress(KeyboardInterrupt), breaker.call():
        raise KeyboardInterrupt
    assert breaker.is_open
    assert call(breaker)


def test_a_refusal_is_no_failure() -> None:
    """The service is well, and says no."""
    breaker = Breaker("the service", now_s=Clock())
    for _ in range(2 * FAILURES_MAX):
        assert call(breaker, Invalid("no"))
    assert not breaker.is_open


@given(st.lists(st.sampled_from(["works", "fails", "waits"]), max_size=60))
def test_a_service_that_is_back_is_found(steps: list[str]) -> None:
    """Whatever happened before: once the time is over, the first call that works closes it."""
    clock = Clock()
    breaker = Breaker("the service", now_s=clock)
    for step in steps:
        if step == "waits":
            clock.now_s += OPEN_S / 3
        else:
            call(breaker, None if step == "works" else Unavailable("away"))
    clock.now_s += OPEN_S
    assert call(breaker)
    assert not breaker.is_open
