"""A message: at once or scheduled, cancelled or due, dispatched and settled once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.aggregate import KeyOwner
from domain.errors import Conflict
from domain.message import Content, Message, ToEveryone, ToThread
from tests.unit.domain.story import at, given

ID, THREAD = UUID(int=1), UUID(int=2)


def message(*, due_s: float | None = None, ttl_s: float = 60, **fields: Any) -> Message:
    scheduled_at = None if due_s is None else at(due_s)
    known: dict[str, Any] = {
        "audience": ToThread(THREAD),
        "content": Content("hello"),
        "sender": "boss",
        "scheduled_at": scheduled_at,
        "expires_at": (scheduled_at or at()) + timedelta(seconds=ttl_s),
    }
    return Message.accept(id=ID, at=at(), **{**known, **fields})


def test_a_message_is_due_at_once_or_when_scheduled() -> None:
    """Without a time it is due when it is accepted, and never falls due again."""
    assert message().due
    assert not message(due_s=100).due
    given(message()).when(lambda m: m.fall_due(at=at(1))).then_nothing()


def test_falling_due_keeps_the_time_to_live() -> None:
    """A message that starts late, or early, lives as long as it was meant to."""
    for started_s in (50, 100, 1000):
        given(message(due_s=100)).when(lambda m, s=started_s: m.fall_due(at=at(s))).then(  # type: ignore[misc]
            Message.Due, scheduled_at=at(100), expires_at=at(started_s + 60)
        )


def test_it_falls_due_once() -> None:
    """A schedule that fires again starts nothing."""
    given(message(due_s=100)).and_then(lambda m: m.fall_due(at=at(100))).when(
        lambda m: m.fall_due(at=at(200))
    ).then_nothing()


def test_cancelling_stops_a_scheduled_message_for_good() -> None:
    """Once cancelled it can't fall due; cancelling again is nothing."""
    given(message(due_s=100)).when(lambda m: m.cancel(at=at(1))).then(Message.Cancelled, scheduled_at=at(100))
    cancelled = given(message(due_s=100)).and_then(lambda m: m.cancel(at=at(1)))
    cancelled.when(lambda m: m.cancel(at=at(2))).then_nothing()
    cancelled.when(lambda m: m.fall_due(at=at(100))).then_nothing()


def test_what_is_due_can_not_be_cancelled() -> None:
    """The first of the two wins."""
    given(message()).when(lambda m: m.cancel(at=at(1))).then_refused(Conflict)
    given(message(due_s=100)).and_then(lambda m: m.fall_due(at=at(100))).when(
        lambda m: m.cancel(at=at(101))
    ).then_refused(Conflict)


def test_it_is_dispatched_and_settled_once() -> None:
    """The first numbers stand."""

    def dispatched(sends: int) -> object:
        return lambda m: m.note_dispatched(at=at(1), pages=1, contacts=2, sends=sends, suppressed=0)

    given(message()).when(dispatched(3)).then(Message.Dispatched, sends=3)  # type: ignore[arg-type]
    given(message()).and_then(dispatched(3)).when(dispatched(4)).then_nothing()  # type: ignore[arg-type]
    given(message()).when(lambda m: m.settle(at=at(2), totals={"accepted": 1})).then(
        Message.Settled, totals={"accepted": 1}
    )
    given(message()).and_then(lambda m: m.settle(at=at(2), totals={})).when(
        lambda m: m.settle(at=at(3), totals={"accepted": 1})
    ).then_nothing()


def test_content_is_sealed_under_a_confidential_threads_key() -> None:
    """Only there: the content of other messages, and of those without a thread, is readable."""
    [event] = message(confidential=True).pending_events
    assert event.key_owner() == KeyOwner("thread", THREAD)
    [event] = message().pending_events
    assert event.key_owner() is None
    [event] = message(confidential=True, audience=ToEveryone()).pending_events
    assert event.key_owner() is None
