"""A process's life as the tests control it: counted steps, and a death that nothing survives."""

from __future__ import annotations

import asyncio


class Lifeline:
    """Every effect a process has on the world outside is a step. `die_after`: how many it lives to make.

    Death is like SIGKILL: the last effect is there, its answer never arrives, and nothing follows.
    """

    def __init__(self, die_after: int | None = None) -> None:
        self.die_after = die_after
        self.steps: list[str] = []
        self.dead = asyncio.Event()

    async def alive(self) -> None:
        """Passes while the process lives; a dead one waits here until its tasks are cancelled."""
        if self.dead.is_set():
            await asyncio.Event().wait()

    async def step(self, name: str) -> None:
        """An effect has just taken place."""
        self.steps.append(name)
        if self.die_after is not None and len(self.steps) >= self.die_after:
            self.dead.set()
        await self.alive()
