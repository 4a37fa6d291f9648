"""A message: content plus audience, from acceptance to its final totals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Created, KeyOwner, restored
from domain.aggregate import Event as BaseEvent
from domain.errors import Conflict

TTL_S_MAX = 2_419_200
"""Four weeks: the longest that FCM and web push keep a message."""
URGENCIES = range(1, 5)
"""From very low to high."""


class ToThread(msgspec.Struct, frozen=True, tag="thread"):
    """Everyone subscribed when the message became due."""

    thread: UUID


class ToContacts(msgspec.Struct, frozen=True, tag="contacts"):
    contacts: tuple[UUID, ...]


class ToEveryone(msgspec.Struct, frozen=True, tag="everyone"):
    """Every contact of the realm."""


class ToApp(msgspec.Struct, frozen=True, tag="app"):
    """Every contact that the message's app could reach when the message became due, on just those clients."""


Audience = ToThread | ToContacts | ToEveryone | ToApp


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What people see. opts: the sender's options per provider (sound, data, payload)."""

    text: str
    subject: str = ""
    opts: dict[str, Any] = {}


class Message(Aggregate):
    """One message of one realm. Its id shares its thread's partition."""

    TOPIC = "message"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Accepted(Event, Created):
        """The exchange took responsibility. scheduled_at None: due at once.

        app: the application or web domain that sends, by its code; only its own clients are written to. "": none does,
        and every address of the audience is used.
        """

        TOPIC = "message.accepted.v2"
        SEALED = ("content",)
        audience: Audience
        content: Content | None
        sender: str
        tid: str | None = None
        channels: tuple[str, ...] | None = None
        urgency: int = 3
        expires_at: datetime
        scheduled_at: datetime | None = None
        parent: str | None = None
        confidential: bool = False
        app: str = ""

        def key_owner(self) -> KeyOwner | None:
            if self.confidential and isinstance(self.audience, ToThread):
                return KeyOwner("thread", self.audience.thread)
            return None

    @dataclass(frozen=True, kw_only=True)
    class Due(Event):
        """A scheduled message's time has come; its audience is decided at this position."""

        TOPIC = "message.due.v1"
        scheduled_at: datetime | None
        expires_at: datetime

        def apply(self, aggregate: Message) -> None:
            aggregate.due, aggregate.expires_at = True, self.expires_at

    @dataclass(frozen=True, kw_only=True)
    class Cancelled(Event):
        TOPIC = "message.cancelled.v1"
        scheduled_at: datetime | None

        def apply(self, aggregate: Message) -> None:
            aggregate.cancelled = True

    @dataclass(frozen=True, kw_only=True)
    class Dispatched(Event):
        """The whole audience is paged: contacts decided on, sends planned, contacts left out."""

        TOPIC = "message.dispatched.v1"
        pages: int
        contacts: int
        sends: int
        suppressed: int

        def apply(self, aggregate: Message) -> None:
            aggregate.dispatched = True

    @dataclass(frozen=True, kw_only=True)
    class Settled(Event):
        """Every delivery has reached its terminal state. totals: deliveries by state."""

        TOPIC = "message.settled.v1"
        totals: dict[str, int]

        def apply(self, aggregate: Message) -> None:
            aggregate.settled = True

    def __init__(
        self,
        audience: Audience,
        content: Content | None,
        sender: str,
        expires_at: datetime,
        tid: str | None,
        channels: tuple[str, ...] | None,
        urgency: int,
        scheduled_at: datetime | None,
        confidential: bool,
        app: str,
    ) -> None:
        self.audience, self.content, self.sender = audience, content, sender
        self.tid, self.channels, self.urgency = tid, channels, urgency
        self.expires_at, self.scheduled_at = expires_at, scheduled_at
        self.confidential, self.app = confidential, app
        self.due = scheduled_at is None
        self.cancelled = self.dispatched = self.settled = False

    @classmethod
    def accept(
        cls,
        *,
        id: UUID,
        at: datetime,
        audience: Audience,
        content: Content | None,
        sender: str,
        expires_at: datetime,
        tid: str | None = None,
        channels: tuple[str, ...] | None = None,
        urgency: int = 3,
        scheduled_at: datetime | None = None,
        parent: str | None = None,
        confidential: bool = False,
        app: str = "",
    ) -> Message:
        # Hot path: Accepted's fields in its own order, since passing them on by name takes longer than all the rest.
        fields = {
            "originator_id": id,
            "originator_version": cls.INITIAL_VERSION,
            "timestamp": at,
            "originator_topic": cls.TOPIC,
            "audience": audience,
            "content": content,
            "sender": sender,
            "tid": tid,
            "channels": channels,
            "urgency": urgency,
            "expires_at": expires_at,
            "scheduled_at": scheduled_at,
            "parent": parent,
            "confidential": confidential,
            "app": app,
        }
        message: Message = cls._begun_by(restored(cls.Accepted, fields))
        return message

    def fall_due(self, *, at: datetime) -> None:
        """Start a scheduled message. A second call, or one after a cancel, changes nothing."""
        if self.due or self.cancelled:
            return
        planned = self.scheduled_at or at
        self.trigger_event(
            self.Due,
            timestamp=at,
            scheduled_at=self.scheduled_at,
            expires_at=at + (self.expires_at - planned),
        )

    def cancel(self, *, at: datetime) -> None:
        """Stop a scheduled message. Raises Conflict once it is due."""
        if self.cancelled:
            return
        if self.due:
            raise Conflict("the message is already being sent; only a scheduled one can be cancelled")
        self.trigger_event(self.Cancelled, timestamp=at, scheduled_at=self.scheduled_at)

    def note_dispatched(
        self, *, at: datetime, pages: int, contacts: int, sends: int, suppressed: int
    ) -> None:
        if not self.dispatched:
            self.trigger_event(
                self.Dispatched,
                timestamp=at,
                pages=pages,
                contacts=contacts,
                sends=sends,
                suppressed=suppressed,
            )

    def settle(self, *, at: datetime, totals: dict[str, int]) -> None:
        if not self.settled:
            self.trigger_event(self.Settled, timestamp=at, totals=totals)
