"""What somebody may have meant who wrote a word that there is not."""

from __future__ import annotations

import pytest

from domain.text.nearest import NAMES_SHOWN_MAX, near, nearest


def test_the_nearest_come_first_in_any_case() -> None:
    """As many as are asked for, as they are written; nothing that is not like it."""
    known = ["message.accepted", "message.due", "thread.opened"]
    assert near("Message.Acepted", known) == ["message.accepted"]
    assert near("message.du", known, most=2) == ["message.due", "message.accepted"]
    assert near("xyz", known, most=3) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("URGENCY", "did you mean opts.urgency?"),
        ("titel", "did you mean title?"),
        ("colour", "there are title, opts"),
    ],
)
def test_a_name_one_level_down_may_be_meant(name: str, says: str) -> None:
    """If that is what its end says; where nothing is near, all names are told."""
    assert nearest(name, ["title", "opts", "opts.urgency", "opts.ttl"]) == says


def test_no_sentence_is_endless() -> None:
    """Of many names the first are told, of none that there are none."""
    names = [f"{number:03}" for number in range(NAMES_SHOWN_MAX + 1)]
    assert nearest("x", names) == f"there are {', '.join(names[:-1])}, ..."
    assert nearest("x", []) == "there are none"
