"""Contact data that a test writes the script of; it outlives the processes that ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from domain.errors import MsgxcError
from processes.directories import ContactKey
from tests.memory.lifeline import Lifeline

FIRST = 1001


@dataclass(slots=True)
class ContactBook:
    """ids: of every key that was ever asked for. script: (key, how often it was asked before) -> an error, or None."""

    ids: dict[ContactKey, int] = field(default_factory=dict)
    asked: list[ContactKey] = field(default_factory=list)
    script: Callable[[ContactKey, int], MsgxcError | None] = lambda key, times: None

    def take(self, key: ContactKey) -> int:
        times = self.asked.count(key)
        self.asked.append(key)
        error = self.script(key, times)
        if error is not None:
            raise error
        return self.ids.setdefault(key, FIRST + len(self.ids))


class ScriptedContactData:
    """processes.directories.ContactData."""

    def __init__(self, book: ContactBook, *, life: Lifeline | None = None) -> None:
        self._book, self._life = book, life or Lifeline()

    async def resolve(self, key: ContactKey) -> int:
        await self._life.alive()
        found = self._book.take(key)
        await self._life.step("resolve")
        return found
