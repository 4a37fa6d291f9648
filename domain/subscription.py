"""A contact's membership of a thread, in intervals, with preferences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent


class Subscription(Aggregate):
    """Its id is derived from (thread, contact), so there is one for each pair, for ever.

    number counts the intervals of membership: leaving and coming back starts another.
    """

    TOPIC = "subscription"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Started(Event, Created):
        TOPIC = "subscription.started.v1"
        thread: UUID
        contact: UUID
        tid: str
        uid: str
        number: int = 1

    @dataclass(frozen=True, kw_only=True)
    class Resumed(Event):
        TOPIC = "subscription.resumed.v1"
        thread: UUID
        contact: UUID
        tid: str
        uid: str
        number: int

        def apply(self, aggregate: Subscription) -> None:
            aggregate.active, aggregate.number = True, self.number

    @dataclass(frozen=True, kw_only=True)
    class Ended(Event):
        TOPIC = "subscription.ended.v1"
        thread: UUID
        contact: UUID
        number: int

        def apply(self, aggregate: Subscription) -> None:
            aggregate.active, aggregate.preferences = False, None

    @dataclass(frozen=True, kw_only=True)
    class PreferencesSet(Event):
        """channels None: all that the thread and the contact allow; (): none."""

        TOPIC = "subscription.preferences-set.v1"
        thread: UUID
        contact: UUID
        number: int
        channels: tuple[str, ...] | None

        def apply(self, aggregate: Subscription) -> None:
            aggregate.preferences = self.channels

    def __init__(self, thread: UUID, contact: UUID, tid: str, uid: str, number: int) -> None:
        self.thread, self.contact, self.tid, self.uid = thread, contact, tid, uid
        self.number, self.active = number, True
        self.preferences: tuple[str, ...] | None = None

    @classmethod
    def start(
        cls, *, id: UUID, at: datetime, thread: UUID, contact: UUID, tid: str, uid: str
    ) -> Subscription:
        subscription: Subscription = cls._open(
            cls.Started, id=id, at=at, thread=thread, contact=contact, tid=tid, uid=uid
        )
        return subscription

    def resume(self, *, at: datetime) -> None:
        if not self.active:
            self.trigger_event(
                self.Resumed,
                timestamp=at,
                thread=self.thread,
                contact=self.contact,
                tid=self.tid,
                uid=self.uid,
                number=self.number + 1,
            )

    def end(self, *, at: datetime) -> None:
        if self.active:
            self.trigger_event(
                self.Ended,
                timestamp=at,
                thread=self.thread,
                contact=self.contact,
                number=self.number,
            )

    def prefer(self, *, at: datetime, channels: tuple[str, ...] | None) -> None:
        if self.active and channels != self.preferences:
            self.trigger_event(
                self.PreferencesSet,
                timestamp=at,
                thread=self.thread,
                contact=self.contact,
                number=self.number,
                channels=channels,
            )
