"""Subjects of the records of a message's way."""

from __future__ import annotations

from uuid import UUID

import pytest

from domain.deliveries.delivery import message_of_outcome

MESSAGE = UUID(int=2**127 + 7)


@pytest.mark.parametrize("rest", ["0-1", "12x3-2h1", "4f500f100-3"])
def test_an_outcome_names_its_message(rest: str) -> None:
    """Whatever page and try it is of."""
    assert message_of_outcome(f"outcome.fcm.{MESSAGE.hex}-{rest}") == MESSAGE


@pytest.mark.parametrize("subject", [f"attempt.fcm.{MESSAGE.hex}-0-1", "outcome.fcm.nothing-0-1", "outcome"])
def test_no_other_subject_does(subject: str) -> None:
    """What is no outcome's is refused."""
    with pytest.raises(ValueError):  # noqa: PT011  any: it goes to TRIAGE with its reason
        message_of_outcome(subject)
