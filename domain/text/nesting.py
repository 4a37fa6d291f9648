"""How deep a JSON value from outside may be: what is accepted once is written and read many times, inside other values.

JSON decoders and encoders give up at some depth. A value that came in just below it could be stored and never be
read again, so the bound is far below.
"""

from __future__ import annotations

from typing import Any

from domain.errors import Invalid

DEPTH_MAX = 64
"""Objects and lists inside one another; the deepest notification of any provider has less than ten."""

_NESTS = (dict, list, tuple)


def assert_shallow(value: Any, *, field: str) -> None:
    """Raises Invalid for lists and objects nested deeper than DEPTH_MAX."""
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(DEPTH_MAX):
        if not level:
            return
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, _NESTS)
        ]
    if level:
        raise Invalid(f"at most {DEPTH_MAX} lists and objects inside one another", field=field)
