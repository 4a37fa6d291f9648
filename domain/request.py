"""A claim: that a call under an idempotency key was carried out, for commands that create nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent


class Request(Aggregate):
    """Appended in one batch with the command's own events; its id is derived from the key and its scope."""

    TOPIC = "request"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Made(Event, Created):
        TOPIC = "request.made.v1"
        command: str

    def __init__(self, command: str) -> None:
        self.command = command

    @classmethod
    def make(cls, *, id: UUID, at: datetime, command: str) -> Request:
        request: Request = cls._open(cls.Made, id=id, at=at, command=command)
        return request
