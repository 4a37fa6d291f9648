"""Threads from memory, kept true by following their events: the publish path's look at who may write where.

Owns a bounded copy of threads by id; who was erased, `removals` knows. Never decides anything, and never answers from
a copy that may have missed an event for longer than a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import UUID

from commands.port import EventStore
from domain.recorded import EVENTS, Checkpoint
from domain.thread import Thread
from infra.lookups.removals import RememberedRemovals
from processes.port import Log

THREADS_MAX: Final = 50_000
"""Threads remembered, a kilobyte each; the one unused for longest is forgotten first."""

OnReconnect = Callable[[Callable[[], None]], Callable[[], None]]
"""Has a function called after each reconnect to the log; returns what ends that."""


class FollowedThreads:
    """commands.port.ThreadDirectory. `run` must be running; until it has begun, every thread is loaded."""

    def __init__(
        self, events: Log, store: EventStore, removals: RememberedRemovals, *, on_reconnect: OnReconnect
    ) -> None:
        self._log, self._store, self._on_reconnect = events, store, on_reconnect
        # By the ids' numbers: a UUID's hash is a call of Python, and this is asked with every publish.
        self._threads: OrderedDict[int, Thread] = OrderedDict()
        self._removals = removals
        self._changes = 0
        self._following = False

    async def thread(self, id: UUID) -> Thread | None:
        if not self._following:
            return await self._store.load(Thread, id)
        known = self._threads.get(id.int)
        if known is not None:
            self._threads.move_to_end(id.int)
            return known
        changes = self._changes
        thread = await self._store.load(Thread, id, fresh=True)
        # What changed meanwhile may be newer than what was read; and absence is asked for again each time.
        if thread is not None and changes == self._changes:
            self._keep(id, thread)
        return thread

    def is_erased(self, contact: UUID) -> Coroutine[Any, Any, bool]:
        return self._removals.is_erased(contact)

    async def run(self) -> None:
        """Follow the threads' events, for ever."""
        start = Checkpoint(EVENTS, await self._log.end(EVENTS), await self._log.epoch(EVENTS))
        end_watch = self._on_reconnect(self._forget_all)
        self._following = True
        try:
            async for facts in self._log.follow(EVENTS, start, subjects=("evt.thread.>",)):
                self._changes += 1
                for fact in facts:
                    self._threads.pop(int(fact.subject.rpartition(".")[2], 16), None)
        finally:
            self._following = False
            self._forget_all()
            end_watch()

    def _keep(self, id: UUID, thread: Thread) -> None:
        self._threads[id.int] = thread
        while len(self._threads) > THREADS_MAX:
            self._threads.popitem(last=False)

    def _forget_all(self) -> None:
        """What was read over a connection that broke may have changed unseen."""
        self._changes += 1
        self._threads.clear()
