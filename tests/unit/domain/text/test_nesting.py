"""How deep values from outside may be."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Invalid
from domain.text.nesting import DEPTH_MAX, assert_shallow


def nested(depth: int, inner: Any, *, lists: bool) -> Any:
    value = inner
    for _ in range(depth):
        value = [1, value] if lists else {"a": 1, "b": value}
    return value


@pytest.mark.parametrize("lists", [True, False])
def test_the_deepest_value_that_is_taken_and_one_deeper(lists: bool) -> None:
    """What is innermost doesn't matter: an empty list is one more level, as a full one is."""
    assert_shallow(nested(DEPTH_MAX, "x", lists=lists), field="opts")
    assert_shallow(nested(DEPTH_MAX - 1, [], lists=lists), field="opts")
    for too_deep in (nested(DEPTH_MAX + 1, "x", lists=lists), nested(DEPTH_MAX, [], lists=lists)):
        with pytest.raises(Invalid) as refused:
            assert_shallow(too_deep, field="opts")
        assert refused.value.field == "opts"


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, ()])
def test_what_holds_nothing_is_shallow(value: Any) -> None:
    """Values that are neither list nor object, too."""
    assert_shallow(value, field="opts")
