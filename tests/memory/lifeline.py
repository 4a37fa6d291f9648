"""A process's life as the tests control it: counted steps, and what goes wrong at one of them."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from domain.errors import OutcomeUnknown


class Fault(Enum):
    """DEATH: like SIGKILL; the last effect is there, its answer never arrives, and nothing follows.

    PAUSE: like SIGSTOP after the effect; it goes on as if no time had passed when it is woken.
    LOST_ANSWER: the effect is there, and the caller is told that the log did not answer.
    LOST_WORD: an acknowledgement never reaches the server; the sender does not know.
    """

    DEATH = auto()
    PAUSE = auto()
    LOST_ANSWER = auto()
    LOST_WORD = auto()


class Lifeline:
    """Every effect a process has on the world outside is a step; `fault` happens at the step number `at`."""

    def __init__(self, fault: Fault | None = None, at: int = 0) -> None:
        self.fault, self.at = fault, at
        self.steps: list[str] = []
        self.dead = asyncio.Event()
        self.awake = asyncio.Event()
        self.awake.set()
        self.hit = False

    async def alive(self) -> None:
        """Passes while the process lives; a dead one waits here until its tasks are cancelled."""
        await self.awake.wait()
        if self.dead.is_set():
            await asyncio.Event().wait()

    def loses_word(self) -> bool:
        """Whether the acknowledgement that is about to be sent is lost."""
        if self.fault is not Fault.LOST_WORD or len(self.steps) + 1 != self.at:
            return False
        self.steps.append("lost word")
        self.hit = True
        return True

    async def step(self, name: str) -> None:
        """An effect has just taken place."""
        self.steps.append(name)
        if self.fault is not None and len(self.steps) == self.at:
            self._strike(name)
        await self.alive()

    def _strike(self, name: str) -> None:
        match self.fault:
            case Fault.DEATH:
                self.hit = True
                self.dead.set()
            case Fault.PAUSE:
                self.hit = True
                self.awake.clear()
            case Fault.LOST_ANSWER if name.partition(" ")[0] not in ("ack", "send", "rows", "checkpoint"):
                self.hit = True
                raise OutcomeUnknown("the log did not answer")
            case _:
                return
