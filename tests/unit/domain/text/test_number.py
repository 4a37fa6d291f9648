"""Numbers from outside: what is one is read, what is none is None, and nothing raises."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.text.number import DIGITS_MAX, SECONDS_MAX, moment, number, whole_number


@pytest.mark.parametrize("text", ["0", "007", "42", "9" * DIGITS_MAX])
def test_digits_are_a_whole_number(text: str) -> None:
    """As text and as bytes."""
    assert whole_number(text) == whole_number(text.encode()) == int(text)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", " 1", "1 ", "1_0", "1.0", "²", "٣", "0x1", "9" * (DIGITS_MAX + 1), "9" * 5_000],
)
def test_what_is_no_whole_number(text: str) -> None:
    """Signs, blanks, digits of other scripts, more digits than anybody needs."""
    assert whole_number(text) is None
    assert whole_number(text.encode("utf-8")) is None
    assert whole_number("1234", digits_max=3) is None


@given(st.text() | st.binary())
def test_any_text_is_survived(text: str | bytes) -> None:
    """A number of its digits, or None."""
    found = whole_number(text)
    assert found is None or (0 <= found < 10**DIGITS_MAX)


@pytest.mark.parametrize(
    "value", [None, True, "1", [], {}, math.nan, math.inf, -math.inf, 10**400, 2**53 + 2, 1e300]
)
def test_what_is_no_number(value: Any) -> None:
    """Neither is it a time."""
    assert number(value) is None
    assert moment(value) is None


def test_a_moment() -> None:
    """In seconds or parts of them, up to the last second that a date can say."""
    assert moment(1_800_000_000) == datetime.fromtimestamp(1_800_000_000, UTC)
    assert moment(1_800_000_000_500, per_s=1_000) == datetime.fromtimestamp(1_800_000_000.5, UTC)
    assert moment(SECONDS_MAX) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    for wrong in (0, -1, SECONDS_MAX + 1, 1_800_000_000_000):
        assert moment(wrong) is None
    assert moment(1_800_000_000_000_000_000, per_s=1_000) is None


@given(st.integers() | st.floats() | st.text(), st.sampled_from([1, 1_000]))
def test_any_time_is_survived(value: object, per_s: int) -> None:
    """A time with a zone, or None."""
    found = moment(value, per_s=per_s)
    assert found is None or found.tzinfo is UTC
