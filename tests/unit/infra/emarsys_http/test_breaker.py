"""A service that fails again and again is left alone, and found again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid, Unavailable
from infra.emarsys_http.breaker import FAILURES_MAX, OPEN_S, QUESTIONS_MAX, Breaker


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def call(breaker: Breaker, error: Exception | None = None, *, question: int = 0) -> bool:
    """Whether the call passed."""
    passed = False
    with suppress(Unavailable, Invalid), breaker.call(question):
        passed = True
        if error is not None:
            raise error
    return passed


def broken(clock: Callable[[], float], *, for_all: bool) -> Breaker:
    """Open: for question 0 after its own failures, or for all after those of others."""
    breaker = Breaker("the service", now_s=clock)
    for number in range(FAILURES_MAX):
        assert call(breaker, Unavailable("away"), question=-number - 1 if for_all else 0)
    return breaker


either = pytest.mark.parametrize("for_all", [False, True], ids=["one-question", "all"])


@either
def test_failures_in_a_row_open_it(for_all: bool) -> None:
    """Then callers are told at once, with the service's name, and nothing is asked."""
    breaker = broken(Clock(), for_all=for_all)
    assert breaker.is_open
    with pytest.raises(Unavailable, match="the service failed"), breaker.call(0):
        raise AssertionError("the call passed")


def test_a_question_that_fails_shuts_no_other() -> None:
    """However often it is asked: it is left alone, and what never failed is asked."""
    clock = Clock()
    breaker = broken(clock, for_all=False)
    for _ in range(3 * FAILURES_MAX):
        clock.now_s += OPEN_S / 2
        call(breaker, Unavailable("away"))
    assert call(breaker, question=1)
    assert not call(breaker)
    assert breaker.is_open


def test_what_never_failed_is_the_first_trial_for_all() -> None:
    """What did is asked for more often, and may be at fault itself; it tries where nothing else is asked."""
    clock = Clock()
    breaker = broken(clock, for_all=True)
    clock.now_s += OPEN_S
    assert not breaker.is_trial(-1)
    assert not call(breaker, question=-1)
    assert breaker.is_trial(0)
    clock.now_s += OPEN_S
    assert call(breaker, question=-1)
    assert not breaker.is_open


def test_questions_that_go_on_failing_open_it_for_nobody_else() -> None:
    """Once something was answered between their failures, it is known whose fault it is."""
    clock = Clock()
    breaker = broken(clock, for_all=True)
    clock.now_s += OPEN_S
    assert call(breaker)
    for _ in range(3 * FAILURES_MAX):
        clock.now_s += OPEN_S
        for number in range(FAILURES_MAX):
            assert call(breaker, Unavailable("away"), question=-number - 1)
    assert call(breaker)


def test_no_more_questions_are_remembered_than_there_is_room_for() -> None:
    """Whatever is invented while a service is away."""
    clock = Clock()
    breaker = Breaker("the service", now_s=clock)
    for question in range(QUESTIONS_MAX + 10):
        clock.now_s += OPEN_S
        assert call(breaker, Unavailable("away"), question=question)
    assert (len(breaker._failures), len(breaker._unanswered)) == (QUESTIONS_MAX, FAILURES_MAX)


def test_a_success_between_failures_keeps_it_closed() -> None:
    """A service that is started anew fails some calls: that is no reason."""
    breaker = Breaker("the service", now_s=Clock())
    for _ in range(3 * FAILURES_MAX):
        call(breaker, Unavailable("away"))
        call(breaker)
    assert not breaker.is_open


@either
def test_after_a_while_one_call_tries(for_all: bool) -> None:
    """The others go on being told at once, until it is known how that one ended."""
    clock = Clock()
    breaker = broken(clock, for_all=for_all)
    clock.now_s += OPEN_S
    assert breaker.is_trial(0)
    with breaker.call(0):
        assert not breaker.is_trial(0)
        assert not call(breaker)
    assert not breaker.is_open
    assert call(breaker)


@either
def test_a_trial_that_fails_leaves_it_open(for_all: bool) -> None:
    """For as long again."""
    clock = Clock()
    breaker = broken(clock, for_all=for_all)
    clock.now_s += OPEN_S
    assert call(breaker, Unavailable("away"))
    next_one = 1 if for_all else 0
    clock.now_s += OPEN_S / 2
    assert not call(breaker, question=next_one)
    clock.now_s += OPEN_S / 2
    assert call(breaker, question=next_one)
    assert not breaker.is_open


@either
def test_a_trial_that_is_given_up_decides_nothing(for_all: bool) -> None:
    """The caller went away: the next one tries."""
    clock = Clock()
    breaker = broken(clock, for_all=for_all)
    clock.now_s += OPEN_S
    with suppress(KeyboardInterrupt), breaker.call(0):
        raise KeyboardInterrupt
    assert breaker.is_open
    assert call(breaker)


def test_a_refusal_is_no_failure() -> None:
    """The service is well, and says no."""
    breaker = Breaker("the service", now_s=Clock())
    for _ in range(2 * FAILURES_MAX):
        assert call(breaker, Invalid("no"))
    assert not breaker.is_open


@given(
    st.lists(st.tuples(st.sampled_from(["works", "fails", "waits"]), st.integers(0, 7)), max_size=80),
    st.integers(0, 8),
)
def test_a_service_that_is_back_is_found(steps: list[tuple[str, int]], asked: int) -> None:
    """Whatever happened before: once the time is over, the first call that works closes it for all but what failed."""
    clock = Clock()
    breaker = Breaker("the service", now_s=clock)
    for step, question in steps:
        if step == "waits":
            clock.now_s += OPEN_S / 3
        else:
            call(breaker, None if step == "works" else Unavailable("away"), question=question)
    clock.now_s += 2 * OPEN_S
    assert call(breaker, question=asked)
    for question in range(10):
        assert call(breaker, question=question)
    assert not breaker.is_open
