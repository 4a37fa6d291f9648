"""A silent service is left alone for a while, and found again when it is back; nobody is told to wait for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateways.circuit import (
    OPEN_S_MAX,
    OPEN_S_MIN,
    PATIENCE_S_MIN,
    PROBE_S,
    PROBE_SENDS_MAX,
    Circuit,
    Leave,
)


def silent(circuit: Circuit, now: float) -> bool:
    """A part of a slice to which nobody says a word. Whether the circuit opens."""
    leave = circuit.admit(200, now)
    assert leave.sends
    given_s = leave.patience_s
    return circuit.note(leave, answered=0, given_s=given_s, took_s=given_s, now=now + given_s)


def test_a_service_that_answers_gets_everything() -> None:
    """Also when a few of many have no answer."""
    circuit = Circuit()
    for n in range(100):
        leave = circuit.admit(200, n)
        assert leave == Leave(200, PATIENCE_S_MIN)
        circuit.note(leave, answered=150, given_s=leave.patience_s, took_s=0.2, now=n + 0.2)
    assert not circuit.is_open


def test_a_silent_service_gets_a_few_now_and_then() -> None:
    """At once after one slice in vain: then one try of a few at a time, further and further apart, up to a bound."""
    circuit = Circuit()
    assert silent(circuit, 0.0)
    now, waits = PATIENCE_S_MIN, []
    for _ in range(6):
        refused = circuit.admit(200, now)
        assert refused.sends == 0
        waits.append(refused.others_after_s)
        now += refused.others_after_s
        probe = circuit.admit(200, now)
        assert (probe.sends, probe.is_probe, probe.patience_s) == (PROBE_SENDS_MAX, True, PROBE_S)
        assert circuit.admit(200, now).sends == 0
        now += PROBE_S
        assert not circuit.note(probe, answered=0, given_s=PROBE_S, took_s=PROBE_S, now=now)
    assert waits[0] == OPEN_S_MIN
    assert waits == sorted(waits)
    assert waits[-1] == OPEN_S_MAX


def test_slices_that_fail_together_count_once() -> None:
    """They were under way when the first of them opened the circuit."""
    circuit = Circuit()
    leaves = [circuit.admit(200, 0.0) for _ in range(8)]
    opened = [circuit.note(each, answered=0, given_s=3.0, took_s=3.0, now=3.0) for each in leaves]
    assert opened == [True] + [False] * 7
    assert circuit.admit(1, 3.0).others_after_s == OPEN_S_MIN


def test_a_service_that_is_back_gets_everything_again() -> None:
    """One answered try is enough; one that has become slow is given the time that it takes."""
    circuit = Circuit()
    silent(circuit, 0.0)
    probe = circuit.admit(200, 100.0)
    circuit.note(probe, answered=5, given_s=PROBE_S, took_s=5.0, now=105.0)
    assert circuit.admit(200, 105.0) == Leave(200, 15.0)
    circuit.note(Leave(200, 15.0), answered=200, given_s=15.0, took_s=0.1, now=106.0)
    assert circuit.admit(200, 106.0) == Leave(200, PATIENCE_S_MIN)


def test_a_try_that_nobody_hears_of_is_not_the_last() -> None:
    """Its slice was given up: another one tries."""
    circuit = Circuit()
    silent(circuit, 0.0)
    assert circuit.admit(200, 20.0).is_probe
    assert circuit.admit(200, 20.0 + PROBE_S).is_probe


def test_what_proves_nothing_opens_nothing() -> None:
    """A refusal at once holds nobody up; a message about to expire had no time for an answer."""
    circuit = Circuit()
    assert not circuit.note(circuit.admit(9, 0.0), answered=0, given_s=3.0, took_s=0.1, now=0.1)
    assert not circuit.note(circuit.admit(9, 0.0), answered=0, given_s=1.0, took_s=1.0, now=1.0)
    assert circuit.admit(9, 1.0).sends == 9


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 30), st.floats(0, 100))))
def test_nobody_waits_for_ever(story: list[tuple[int, float, float]]) -> None:
    """Whatever has been, within OPEN_S_MAX somebody may go."""
    circuit, now = Circuit(), 0.0
    for answered, took_s, pause_s in story:
        leave = circuit.admit(9, now)
        if leave.sends:
            circuit.note(leave, answered=answered, given_s=leave.patience_s, took_s=took_s, now=now + took_s)
        assert 0 <= leave.others_after_s <= OPEN_S_MAX
        now += took_s + pause_s
    assert circuit.admit(9, now + OPEN_S_MAX).sends > 0
