"""The form that all aggregates and events have.

Events are frozen dataclasses with a topic of their own (`message.accepted.v2`); a published topic never
changes its fields. Aggregates build on the eventsourcing library's BaseAggregate. The domain has no clock
and mints no ids: both are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass
from dataclasses import fields as fields_of
from datetime import datetime
from functools import cache
from inspect import signature
from operator import attrgetter, itemgetter
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate
from eventsourcing.utils import resolve_topic


class KeyOwner(NamedTuple):
    """Whose key seals an event's personal fields: ("contact" | "client" | "thread", id)."""

    kind: str
    id: UUID


@dataclass(frozen=True, kw_only=True)
class Event(CanMutateAggregate[UUID]):
    """One fact. SEALED names the fields that are encrypted before they reach the log.

    A sealed field is optional in type: it reads None once its key has been destroyed.
    """

    TOPIC: ClassVar[str]
    SEALED: ClassVar[tuple[str, ...]] = ()

    originator_id: UUID
    originator_version: int
    timestamp: datetime

    @staticmethod
    def create_timestamp() -> datetime:
        raise TypeError("the domain has no clock: pass timestamp")

    def key_owner(self) -> KeyOwner | None:
        """Whose key seals the SEALED fields; None leaves them readable."""
        return None


@dataclass(frozen=True, kw_only=True)
class Created(Event, CanInitAggregate[UUID]):
    """The first event of an aggregate."""

    originator_topic: str

    def mutate(self, aggregate: Any) -> Any:
        """The aggregate that begins with this event: as the library does it, in half the time.

        The library looks through all the event's fields for the parameters of either initialiser.
        """
        if aggregate is not None:
            raise ValueError("an aggregate begins once")
        kind, taken_from = _beginning(self.originator_topic)
        made = object.__new__(kind)
        made.__base_init__(self.originator_id, self.originator_version, self.timestamp)
        made.__init__(*taken_from(vars(self)))
        if type(self).apply is not Event.apply:
            self.apply(made)
        return made


@cache
def _beginning(topic: str) -> tuple[Any, Callable[[dict[str, Any]], tuple[Any, ...]]]:
    """The aggregate of a topic, and what its initialiser takes, in order, of the fields of the event it begins with."""
    kind = resolve_topic(topic)
    names = tuple(signature(kind.__init__).parameters)[1:]
    if len(names) > 1:
        return kind, itemgetter(*names)
    return kind, lambda fields: tuple(fields[name] for name in names)  # itemgetter makes no tuple of one


class _Fields(NamedTuple):
    """What an event is made of. blank: its fields in order, with their defaults. required: those that have none."""

    blank: dict[str, Any]
    required: frozenset[str]


@cache
def _fields(kind: type[Event]) -> _Fields:
    known = {field.name: field.default for field in fields_of(kind)}
    return _Fields(known, frozenset(name for name, default in known.items() if default is MISSING))


def event_of(kind: type[Any], given: dict[str, Any]) -> Any:
    """As `kind(**given)`.

    Hot path: a frozen dataclass's own initialiser sets field after field, and takes more than twice as long.
    """
    blank, required = _fields(kind)  # type: ignore[arg-type]  # a class is hashable
    whole = blank | given
    if len(whole) != len(blank) or not required <= given.keys():
        return kind(**given)  # says what is missing, or not known
    return restored(kind, whole)


def restored[E: Event](kind: type[E], whole: dict[str, Any]) -> E:
    """The event with these fields, all of them and in order; they become its own."""
    event = object.__new__(kind)
    object.__setattr__(event, "__dict__", whole)
    return event


class _Read:
    """Hot path: the library's own properties are calls of Python, and every command makes a dozen of them."""

    id: UUID = property(attrgetter("_id"))  # type: ignore[assignment]
    pending_events: list[Event] = property(attrgetter("_pending_events"))  # type: ignore[assignment]


class Aggregate(_Read, BaseAggregate[UUID]):  # type: ignore[misc]  # of our own events alone
    """A consistency boundary. TOPIC is the word in its events' subjects."""

    TOPIC: ClassVar[str] = ""

    @classmethod
    def _open(cls, event: type[Created], *, id: UUID, at: datetime, **fields: Any) -> Any:
        # Hot path: what the library's own _create does beside this is of no use with ids and times given.
        fields["originator_topic"] = cls.TOPIC
        fields["originator_id"] = id
        fields["originator_version"] = cls.INITIAL_VERSION
        fields["timestamp"] = at
        return cls._begun_by(event_of(event, fields))

    @classmethod
    def _begun_by(cls, created: Created) -> Any:
        aggregate: Any = created.mutate(None)
        aggregate.pending_events.append(created)
        return aggregate

    def trigger_event(self, event_class: type[Any], **fields: Any) -> None:
        """Let an event happen at `timestamp`: as the library does it, but made by `event_of`."""
        fields["originator_id"] = self.id
        fields["originator_version"] = self.version + 1
        event = event_of(event_class, fields)
        event.mutate(self)
        self.pending_events.append(event)


ENVELOPE_FIELDS = frozenset({"originator_id", "originator_version", "timestamp", "originator_topic"})
"""Fields of an event that live in the envelope (subject and headers), not in the body."""
