"""A refresh family: one good token at a time, a grace for lost answers, an end for thieves."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.aggregate import Event
from domain.refresh_family import (
    FULL,
    GENERATIONS_MAX,
    GRACE,
    REUSED,
    SECRET_BYTES,
    RefreshFamily,
    RefreshRefused,
    RefreshToken,
)
from tests.unit.domain.story import Story, at, given

FAMILY, ANN, BOB = UUID(int=1), UUID(int=2), UUID(int=3)
GRACE_S = GRACE.total_seconds()
SECRETS = [bytes([number]) * SECRET_BYTES for number in range(9)]


def token(generation: int, family: UUID = FAMILY) -> RefreshToken:
    return RefreshToken(family, generation, SECRETS[generation])


def opened() -> Story[RefreshFamily]:
    family, first = RefreshFamily.open(
        id=FAMILY, at=at(), merchant="shop", contact=ANN, secret=SECRETS[1], app="A", client=BOB
    )
    assert first == token(1)
    return given(family)


def issued(generations: int, *, every_s: float = 100) -> Story[RefreshFamily]:
    """Up to this generation, one every so many seconds."""
    story = opened()
    for number in range(2, generations + 1):
        moment = at((number - 1) * every_s)
        story.and_then(lambda it, n=number, m=moment: it.issue(at=m, contact=ANN, secret=SECRETS[n]))  # type: ignore[misc]
    return story


def test_issuing_supersedes() -> None:
    """The event names the generation and a hash, never the token."""
    issued(1).when(lambda it: it.issue(at=at(5), contact=BOB, secret=SECRETS[2])).then(
        RefreshFamily.Issued, generation=2, contact=BOB, hash=token(2).hash
    )


def test_the_last_token_is_good_for_ever_and_changes_nothing() -> None:
    """A refresh does not rotate."""
    used: list[bool] = []
    story = issued(2)
    for seconds in (100, 10**9):
        story.when(lambda it, s=seconds: used.append(it.use(at=at(s), token=token(2)))).then_nothing()  # type: ignore[misc]
    assert used == [True, True]


@pytest.mark.parametrize("late_s", [0, GRACE_S])
def test_the_one_before_is_good_within_its_grace(late_s: float) -> None:
    """The answer with its successor may have been lost; from the successor's issue on, 10 s."""
    used: list[bool] = []
    issued(2).when(lambda it: used.append(it.use(at=at(100 + late_s), token=token(1)))).then_nothing()
    assert used == [True]


def test_after_the_grace_it_ends_the_family() -> None:
    """Once; from then on nothing is good and nothing more happens."""
    story = issued(2)
    story.when(lambda it: it.use(at=at(100 + GRACE_S + 0.001), token=token(1))).then(
        RefreshFamily.Reused, generation=1
    )
    for generation in (1, 2):
        story.when(lambda it, g=generation: it.use(at=at(200), token=token(g)) and it.end).then_nothing()  # type: ignore[misc]
    assert story.aggregate.ended == REUSED
    assert not story.aggregate.has_room


def test_several_answers_may_be_lost_in_a_row() -> None:
    """Each superseded token has its own grace, from when it was superseded: a device repeats itself quickly."""
    used: list[bool] = []
    story = issued(4, every_s=2)
    story.when(lambda it: used.append(it.use(at=at(2 + GRACE_S), token=token(1)))).then_nothing()
    assert used == [True]
    story.when(lambda it: it.use(at=at(2 + GRACE_S + 1), token=token(1))).then(
        RefreshFamily.Reused, generation=1
    )


@pytest.mark.parametrize(
    "guess",
    [
        RefreshToken(FAMILY, 2, SECRETS[3]),
        RefreshToken(FAMILY, 1, SECRETS[2]),
        RefreshToken(FAMILY, 2, SECRETS[1]),
        RefreshToken(FAMILY, 0, SECRETS[2]),
        RefreshToken(FAMILY, 3, SECRETS[2]),
        RefreshToken(FAMILY, 2**32 - 1, SECRETS[2]),
        RefreshToken(ANN, 2, SECRETS[2]),
    ],
)
def test_a_guess_is_refused_and_harms_nobody(guess: RefreshToken) -> None:
    """Only a token that was issued can end a family."""
    used: list[bool] = []
    issued(2).when(lambda it: used.append(it.use(at=at(500), token=guess))).then_nothing()
    assert used == [False]


def test_an_end_is_final() -> None:
    """Whatever its reason; ending it again changes nothing."""
    story = issued(2).and_then(lambda it: it.end(at=at(150), reason="erased"))
    story.when(lambda it: it.end(at=at(160), reason="moved")).then_nothing()
    for generation in (1, 2):
        assert not story.aggregate.use(at=at(151), token=token(generation))
    story.when(lambda it: it.issue(at=at(170), contact=ANN, secret=SECRETS[3])).then_refused(AssertionError)


def test_a_full_family_lets_its_last_token_go_within_the_grace() -> None:
    """The device has the next family's token by then, unless the answer was lost."""
    story = issued(2).and_then(lambda it: it.end(at=at(150), reason=FULL))
    assert story.aggregate.use(at=at(150 + GRACE_S), token=token(2))
    assert not story.aggregate.use(at=at(150), token=token(1))
    assert not story.aggregate.pending_events
    assert not story.aggregate.use(at=at(150 + GRACE_S + 1), token=token(2))


@hypothesis_given(st.uuids(), st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_a_token_reads_back(family: UUID, generation: int, secret: bytes) -> None:
    """70 characters that need no escaping anywhere."""
    made = RefreshToken(family, generation, secret)
    assert RefreshToken.parse(made.text) == made
    assert len(made.text) == 70
    assert made.text.replace("-", "a").replace("_", "a").isalnum()


@settings(max_examples=300)
@hypothesis_given(st.text(max_size=80) | st.text("aA0-_+/=", min_size=70, max_size=70))
def test_any_other_text_is_refused(text: str) -> None:
    """By our own error, a permanent one; or it is a token."""
    try:
        assert RefreshToken.parse(text).text[:69] == text[:69]
    except RefreshRefused:
        assert RefreshRefused.status == 400


class Families(RuleBasedStateMachine):
    """A device that signs in and refreshes, answers that get lost, and a thief who copied what it held.

    The model says when the family must still be whole: as long as nobody has used a token after its time.
    """

    stolen = Bundle("stolen")

    @initialize()
    def open(self) -> None:
        self.now = at()
        self.family, first = RefreshFamily.open(
            id=uuid4(), at=self.now, merchant="shop", contact=ANN, secret=os.urandom(SECRET_BYTES)
        )
        self.held, self.issued = first, [first]
        self.superseded_at: dict[RefreshToken, datetime] = {}
        self.past: list[Any] = list(self.family.collect_events())
        self.is_whole = True

    @rule(target=stolen)
    def steal(self) -> RefreshToken:
        return self.held

    @rule(seconds=st.sampled_from([0.0, 1.0, GRACE_S / 2, GRACE_S, GRACE_S + 0.5, 86_400.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.family.has_room)
    @rule(arrives=st.booleans(), contact=st.sampled_from([ANN, BOB]))
    def sign_in(self, arrives: bool, contact: UUID) -> None:
        """The next token; if its answer is lost the device keeps what it had."""
        made = self.family.issue(at=self.now, contact=contact, secret=os.urandom(SECRET_BYTES))
        self.superseded_at[self.issued[-1]] = self.now
        self.issued.append(made)
        if arrives:
            self.held = made
        self.keep()

    @rule()
    def refresh(self) -> None:
        self.use(self.held)

    @rule(token=stolen)
    def refresh_as_a_thief(self, token: RefreshToken) -> None:
        self.use(token)

    @rule(token=stolen, flip=st.integers(0, SECRET_BYTES - 1))
    def guess(self, token: RefreshToken, flip: int) -> None:
        secret = bytearray(token.secret)
        secret[flip] ^= 1
        assert not self.family.use(at=self.now, token=token._replace(secret=bytes(secret)))
        assert not self.family.pending_events

    def use(self, token: RefreshToken) -> None:
        is_current = token == self.issued[-1]
        is_lost_answer = not is_current and self.now - self.superseded_at[token] <= GRACE
        expected = self.is_whole and (is_current or is_lost_answer)
        assert self.family.use(at=self.now, token=token) is expected
        self.is_whole = expected
        self.keep()

    def keep(self) -> None:
        self.past += list(self.family.collect_events())

    @invariant()
    def the_log_tells_the_same(self) -> None:
        replayed: Any = None
        for event in self.past:
            replayed = event.mutate(replayed)
        assert vars(replayed) == vars(self.family)
        ends = [event for event in self.past if isinstance(event, RefreshFamily.Reused)]
        assert len(ends) == (not self.is_whole)

    @invariant()
    def no_secret_is_in_an_event(self) -> None:
        said = repr([vars(event) for event in self.past])
        assert all(token.secret.hex() not in said and token.text not in said for token in self.issued)


Families.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFamilies = Families.TestCase
"""Docstrings of the rules say what is promised."""


def test_a_family_has_room_for_a_hundred_generations() -> None:
    """So that reading one never takes long."""
    family, _ = RefreshFamily.open(id=FAMILY, at=at(), merchant="m", contact=ANN, secret=SECRETS[1])
    for _ in range(GENERATIONS_MAX - 1):
        assert family.has_room
        family.issue(at=at(), contact=ANN, secret=SECRETS[2])
    assert not family.has_room
    assert all(isinstance(event, Event) for event in family.pending_events)
