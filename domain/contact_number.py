"""The number that the embedded directory gives a contact: taken once, for ever, by exactly one contact.

A number's own id decides who has it: the first event on it wins. Nothing of what names the contact is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent


class ContactNumber(Aggregate):
    """owner: an id derived from what names the contact. Never released, so that no old token means somebody new."""

    TOPIC = "contact-number"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Taken(Event, Created):
        TOPIC = "contact-number.taken.v1"
        number: int
        owner: UUID

    def __init__(self, number: int, owner: UUID) -> None:
        self.number, self.owner = number, owner

    @classmethod
    def take(cls, *, id: UUID, at: datetime, number: int, owner: UUID) -> ContactNumber:
        taken: ContactNumber = cls._open(cls.Taken, id=id, at=at, number=number, owner=owner)
        return taken
