"""A contact's membership of a thread, in intervals, with preferences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent
from domain.thread import Settings


class Subscription(Aggregate):
    """Its id is derived from (thread, contact), so there is one for each pair, for ever.

    number counts the intervals of membership: leaving and coming back starts another. granted: an admin made them a
    member, so they are one whatever the thread's settings say; others are as long as these let them in. None: from
    before this was written down.
    """

    TOPIC = "subscription"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Started(Event, Created):
        TOPIC = "subscription.started.v2"
        thread: UUID
        contact: UUID
        tid: str
        uid: str
        number: int = 1
        granted: bool | None

    @dataclass(frozen=True, kw_only=True)
    class Resumed(Event):
        TOPIC = "subscription.resumed.v2"
        thread: UUID
        contact: UUID
        tid: str
        uid: str
        number: int
        granted: bool | None

        def apply(self, aggregate: Subscription) -> None:
            aggregate.active, aggregate.number, aggregate.granted = True, self.number, self.granted

    @dataclass(frozen=True, kw_only=True)
    class Granted(Event):
        """An admin confirms somebody who came by the thread's settings."""

        TOPIC = "subscription.granted.v1"
        thread: UUID
        contact: UUID
        number: int

        def apply(self, aggregate: Subscription) -> None:
            aggregate.granted = True

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

    def __init__(
        self, thread: UUID, contact: UUID, tid: str, uid: str, number: int, granted: bool | None
    ) -> None:
        self.thread, self.contact, self.tid, self.uid = thread, contact, tid, uid
        self.number, self.active, self.granted = number, True, granted
        self.preferences: tuple[str, ...] | None = None

    @classmethod
    def start(
        cls,
        *,
        id: UUID,
        at: datetime,
        thread: UUID,
        contact: UUID,
        tid: str,
        uid: str,
        granted: bool = False,
    ) -> Subscription:
        subscription: Subscription = cls._open(
            cls.Started, id=id, at=at, thread=thread, contact=contact, tid=tid, uid=uid, granted=granted
        )
        return subscription

    def holds(self, settings: Settings) -> bool:
        """Whether they are a member now, the thread being as it is."""
        return self.active and (bool(self.granted) or settings.lets_in(self.uid))

    def resume(self, *, at: datetime, granted: bool = False) -> None:
        """Be a member again; who is one already may still be granted it."""
        if self.active and granted and not self.granted:
            self.trigger_event(
                self.Granted, timestamp=at, thread=self.thread, contact=self.contact, number=self.number
            )
        if not self.active:
            self.trigger_event(
                self.Resumed,
                timestamp=at,
                thread=self.thread,
                contact=self.contact,
                tid=self.tid,
                uid=self.uid,
                number=self.number + 1,
                granted=granted,
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
