"""A claim: that a call under an idempotency key was carried out, for commands that create nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent


class Request(Aggregate):
    """Appended in one batch with the command's own events; its id is derived from the key and its scope."""

    TOPIC = "request"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Made(Event, Created):
        """answer: what the caller was told, for those who call again under the same key; JSON."""

        TOPIC = "request.made.v2"
        command: str
        answer: Any = None

    def __init__(self, command: str, answer: Any) -> None:
        self.command, self.answer = command, answer

    @classmethod
    def make(cls, *, id: UUID, at: datetime, command: str, answer: Any = None) -> Request:
        request: Request = cls._open(cls.Made, id=id, at=at, command=command, answer=answer)
        return request
