"""What all aggregates and events have in common."""

from __future__ import annotations

from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.aggregate import Event, event_of
from domain.client import Client
from domain.message import Content, Message, ToEveryone
from domain.request import Request
from domain.thread import Settings, Thread

AT = datetime(2027, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ENVELOPE: dict[str, Any] = {
    "originator_id": UUID(int=1),
    "originator_version": 1,
    "timestamp": AT,
    "originator_topic": "message",
}
ACCEPTED: dict[str, Any] = {
    "audience": ToEveryone(),
    "content": Content("hello"),
    "sender": "ann",
    "expires_at": AT,
}


def test_an_event_is_as_its_class_makes_it() -> None:
    """Equal, with its defaults, and its fields in the order in which they go onto the log, whatever theirs was."""
    given = dict(reversed([*(ENVELOPE | ACCEPTED).items()]))
    event = event_of(Message.Accepted, given)
    assert event == Message.Accepted(**given)
    assert list(vars(event)) == [field.name for field in fields(Message.Accepted)]
    assert given.keys() == (ENVELOPE | ACCEPTED).keys()


@pytest.mark.parametrize("further", [{}, {"tid": "news", "channels": ("sms",), "urgency": 1, "app": "shop"}])
def test_a_message_begins_with_the_event_that_its_class_makes(further: dict[str, Any]) -> None:
    """The defaults are the event's own, and the fields in its order, as they go onto the log."""
    [event] = Message.accept(id=UUID(int=1), at=AT, **ACCEPTED, **further).pending_events
    assert event == Message.Accepted(**ENVELOPE, **ACCEPTED, **further)
    assert list(vars(event)) == [field.name for field in fields(Message.Accepted)]


@pytest.mark.parametrize(
    "further",
    [{}, {"contact": UUID(int=2), "uid": "ann", "channel": "fcm", "address": "a", "token": UUID(int=3)}],
)
def test_a_client_begins_with_the_event_that_its_class_makes(further: dict[str, Any]) -> None:
    """As a message does; what it says of itself is its own where nothing is said."""
    known: dict[str, Any] = {"app": "shop", "client_id": "device-1", **further}
    [event] = Client.register(id=UUID(int=1), at=AT, **known).pending_events
    assert event == Client.Registered(**{**ENVELOPE, "originator_topic": "client"}, **known)
    assert list(vars(event)) == [field.name for field in fields(Client.Registered)]
    [other] = Client.register(id=UUID(int=1), at=AT, **known).pending_events
    assert vars(event)["properties"] is not vars(other)["properties"]


@pytest.mark.parametrize("missing", sorted(ACCEPTED))
def test_an_event_with_a_field_missing_is_not_made(missing: str) -> None:
    """Nor is it when as many are too many."""
    rest: dict[str, Any] = {name: value for name, value in ACCEPTED.items() if name != missing}
    with pytest.raises(TypeError, match=missing):
        Message.accept(id=UUID(int=1), at=AT, **rest)
    with pytest.raises(TypeError, match="colour"):
        Message.accept(id=UUID(int=1), at=AT, **{**rest, "colour": "red"})


def test_events_share_no_defaults() -> None:
    """What one event holds can't change what the next one is made of."""
    one = Request.make(id=UUID(int=1), at=AT, command="x")
    two = Request.make(id=UUID(int=2), at=AT, command="y", answer=1)
    assert [event.answer for event in (*one.pending_events, *two.pending_events)] == [None, 1]  # type: ignore[attr-defined]


def test_an_event_can_not_be_changed() -> None:
    """What has happened has happened."""
    thread = Thread.open(id=UUID(int=1), at=AT, tid="news", settings=Settings())
    event: Any = thread.pending_events[0]
    with pytest.raises(AttributeError, match="tid"):
        event.tid = "other"


def test_a_time_is_given() -> None:
    """The domain has no clock."""
    thread = Thread.open(id=UUID(int=1), at=AT, tid="news", settings=Settings())
    with pytest.raises(TypeError, match="timestamp"):
        thread.trigger_event(Thread.Closed)
    assert len(thread.pending_events) == 1
    assert thread.version == 1


def test_no_default_of_an_event_can_be_changed_through_one() -> None:
    """Defaults are shared by all events of a class: none may be a list or an object that somebody fills."""
    kinds = [kind for kind in all_kinds(Event) if kind.__module__.startswith("domain.")]
    defaults = [field.default for kind in kinds for field in fields(kind) if field.default is not MISSING]
    assert defaults
    for default in defaults:
        hash(default)


def all_kinds(base: type[Any]) -> list[type[Any]]:
    return [base, *(kind for each in base.__subclasses__() for kind in all_kinds(each))]
