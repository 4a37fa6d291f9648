"""Numbers and times as outsiders write them: headers, queries, bodies of providers and devices.

Total: what is none is None, and nothing raises. `int` alone takes no thousands of digits and `isdigit` takes a ² for a
digit; a date holds no year beyond 9999 and a float no number of 400 digits. Whoever reads from outside asks here.
"""

from __future__ import annotations

from datetime import UTC, datetime

DIGITS_MAX = 18
"""Fits a signed number of 64 bits; no position, size or time of anybody's is longer."""
SECONDS_MAX = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that a date can say."""
NUMBER_MAX = 2**53
"""From here on a float skips whole numbers; no time in any unit that we are told comes near."""


def whole_number(text: str | bytes, digits_max: int = DIGITS_MAX) -> int | None:
    """What ASCII digits say, without sign or blanks; None for anything else, and for more digits than asked for."""
    return int(text) if 0 < len(text) <= digits_max and text.isascii() and text.isdigit() else None


def number(value: object) -> float | None:
    """A number of some JSON; None for what is none, is not finite or is larger than NUMBER_MAX."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -NUMBER_MAX <= value <= NUMBER_MAX else None


def moment(value: object, *, per_s: int = 1) -> datetime | None:
    """A time since 1970, so many to the second; None for what is none and for what no date can say."""
    said = number(value)
    return datetime.fromtimestamp(said / per_s, UTC) if said and 0 < said <= SECONDS_MAX * per_s else None
