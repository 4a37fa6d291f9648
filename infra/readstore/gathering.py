"""Writes of one generation on their way to the database, a page at a time or several gathered.

What is live is stored before `apply` returns. A generation that is being built is read by nobody, so its pages are
gathered: they are stored eight at a time while the next ones are projected and put into the database's form, in fewer
and fuller statements, which about doubles the speed of a rebuild. Until they are stored they are kept here; whoever
reads the generation, offers it or closes it has them stored first; who may not write any more discards them. A rebuild
that was killed goes on from its last stored checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from domain.recorded import Checkpoint
from infra.readstore.writes import Deletes, Puts, WritePlanner
from projections.port import Table, Write

PAGES_MAX = 8
"""Pages gathered: at 500 facts each some thousand rows. More brings little and takes memory."""

Pages = list[Puts | Deletes]


class PageWriter[Part]:
    """make: what the database takes of a page, as parts that can be added up. store: the parts of one page or several,
    then checkpoints; the same again changes nothing.
    """

    def __init__(
        self,
        tables: Iterable[Table],
        make: Callable[[Pages], Awaitable[list[Part]]],
        store: Callable[[list[Part], Sequence[Checkpoint]], Coroutine[Any, Any, None]],
        *,
        gather: bool,
    ) -> None:
        self._planner = WritePlanner(tables)
        self._make, self._store = make, store
        self._gather = gather
        self._parts: list[Part] = []
        self._checkpoints: dict[str, Checkpoint] = {}
        self._count = 0
        self._storing: asyncio.Task[None] | None = None
        self._going: tuple[list[Part], list[Checkpoint]] = [], []
        self._turn = asyncio.Lock()

    async def apply(self, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]) -> None:
        """ValueError: a write that no store can hold, a bug of the projection; nothing of its page is stored."""
        parts = await self._make(self._planner.plan(writes))
        if not self._gather:
            await self._store(parts, checkpoints)
            return
        if self._count >= PAGES_MAX:
            await self._start(PAGES_MAX)
        self._parts += parts
        self._checkpoints.update((one.stream, one) for one in checkpoints)
        self._count += 1

    async def settle(self) -> None:
        """Return when all that was applied is stored."""
        await self._start(1)
        async with self._turn:
            await self._land()

    async def publish(self) -> None:
        """From now on `apply` returns when its page is stored."""
        self._gather = False
        await self.settle()

    async def discard(self) -> None:
        """Store nothing more of what was applied. A page that is under way may be, as if we were killed."""
        self._parts, self._checkpoints, self._count = [], {}, 0
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.cancel()
            await asyncio.wait((storing,))

    async def _start(self, pages: int) -> None:
        """Begin to store what is gathered, as soon as what was before is stored; if it is so many pages still, when it
        is our turn.
        """
        async with self._turn:
            if self._count < pages:
                return
            await self._land()
            parts, checkpoints = self._parts, list(self._checkpoints.values())
            self._storing = asyncio.create_task(self._store(parts, checkpoints))
            self._going = parts, checkpoints
            self._parts, self._checkpoints, self._count = [], {}, 0

    async def _land(self) -> None:
        """Wait for what is being stored; if it fails it goes back in front, for the next try."""
        if self._storing is None:
            return
        try:
            await self._storing
        except BaseException:
            parts, checkpoints = self._going
            self._parts = parts + self._parts
            self._checkpoints = {one.stream: one for one in checkpoints} | self._checkpoints
            self._count += PAGES_MAX
            raise
        finally:
            self._storing = None
