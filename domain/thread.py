"""A thread: a named conversation, and who may read, write and join it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent
from domain.context import Caller
from domain.errors import Conflict


class Settings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a thread's owner decides; the field names in brackets are the MSGXC contract's.

    open_publish (openp): anyone may publish and subscribe; open_subscribe (opens): anyone may subscribe.
    channels (mtypes): None any, () switched off. confidential: message content is sealed on the log.
    """

    name: str = ""
    alias: str = ""
    owner: str = ""
    admins: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    open_publish: bool = False
    open_subscribe: bool = False
    channels: tuple[str, ...] | None = None
    defaults: dict[str, Any] = {}
    urgency: int = 3
    confidential: bool = False

    def is_run_by(self, caller: Caller) -> bool:
        return caller.is_admin or caller.uid == self.owner or caller.uid in self.admins

    def may_publish(self, caller: Caller) -> bool:
        return (
            self.open_publish or caller.uid in self.publishers or self.is_run_by(caller) or caller.is_service
        )

    def may_subscribe(self, caller: Caller) -> bool:
        return caller.is_admin or self.lets_in(caller.uid)

    def lets_in(self, uid: str) -> bool:
        """Whether somebody may be in the thread by its settings alone."""
        return self.lets_everybody_in or uid == self.owner or uid in self.admins

    @property
    def lets_everybody_in(self) -> bool:
        return self.open_subscribe or self.open_publish

    def may_see(self, caller: Caller, *, subscribed: bool = False) -> bool:
        """Whether the thread exists, as far as this caller can tell."""
        return subscribed or self.may_publish(caller) or self.may_subscribe(caller)


class Thread(Aggregate):
    """tid is the caller's word for it, unique in the realm."""

    TOPIC = "thread"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Opened(Event, Created):
        TOPIC = "thread.opened.v1"
        tid: str
        settings: Settings

    @dataclass(frozen=True, kw_only=True)
    class Changed(Event):
        TOPIC = "thread.changed.v1"
        settings: Settings

        def apply(self, aggregate: Thread) -> None:
            aggregate.settings = self.settings

    @dataclass(frozen=True, kw_only=True)
    class Closed(Event):
        TOPIC = "thread.closed.v1"

        def apply(self, aggregate: Thread) -> None:
            aggregate.closed = True

    def __init__(self, tid: str, settings: Settings) -> None:
        self.tid, self.settings, self.closed = tid, settings, False

    @classmethod
    def open(cls, *, id: UUID, at: datetime, tid: str, settings: Settings) -> Thread:
        thread: Thread = cls._open(cls.Opened, id=id, at=at, tid=tid, settings=settings)
        return thread

    def change(self, *, at: datetime, settings: Settings) -> None:
        if self.closed:
            raise Conflict("the thread is closed")
        if settings != self.settings:
            self.trigger_event(self.Changed, timestamp=at, settings=settings)

    def close(self, *, at: datetime) -> None:
        if not self.closed:
            self.trigger_event(self.Closed, timestamp=at)

    @property
    def switched_off(self) -> bool:
        """Messages to it are taken and dropped (contract: mtypes contains `~`)."""
        return self.settings.channels == ()

    def is_run_by(self, caller: Caller) -> bool:
        return self.settings.is_run_by(caller)

    def may_publish(self, caller: Caller) -> bool:
        return self.settings.may_publish(caller)

    def may_subscribe(self, caller: Caller) -> bool:
        return self.settings.may_subscribe(caller)

    def may_see(self, caller: Caller, *, subscribed: bool = False) -> bool:
        return self.settings.may_see(caller, subscribed=subscribed)
