"""Who waits for a contact's number is woken by the event that brings it. Implements api.emarsys.port.Resolutions.

Owns the waiters, and the one reading of the contacts' events that a process of the API has for itself: what it says of
erasures goes to `removals`. Never decides anything, keeps no copy of a contact, and asks the log once before a wait,
and once after one that nobody ended.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from commands.port import EventStore
from domain.contact import Contact
from domain.recorded import EVENTS, Checkpoint, Recorded
from infra.lookups.removals import RememberedRemovals
from processes.port import Log

WAITERS_MAX: Final = 10_000
"""Calls that wait in this process; a further one gets what there is at once, as if it had not asked to wait."""

Waiter = asyncio.Future[int]


class FollowedResolutions:
    """`run` must be running; until it has begun, a wait ends by its time alone, and then looks again."""

    def __init__(self, events: Log, store: EventStore) -> None:
        self._log, self._store = events, store
        self.removals = RememberedRemovals(store)
        self._waiters: dict[UUID, set[Waiter]] = {}
        self._waiting = 0

    async def resolved(self, realm: str, contact: UUID, timeout_s: float) -> int | None:
        """realm: the contact's; its id is of no other."""
        if timeout_s <= 0 or self._waiting >= WAITERS_MAX:
            return await self._look(contact)
        # Registered before the look: a number that comes after it finds the waiter, one from before it is seen.
        waiter = self._register(contact)
        try:
            found = await self._look(contact)
            if found is not None:
                return found
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            return await self._look(contact)
        finally:
            self._leave(contact, waiter)

    async def run(self) -> None:
        """Follow the contacts' events, for ever."""
        start = Checkpoint(EVENTS, await self._log.end(EVENTS), await self._log.epoch(EVENTS))
        self.removals.begin()
        try:
            async for facts in self._log.follow(EVENTS, start, subjects=("evt.contact.>",)):
                for fact in facts:
                    if isinstance(fact, Recorded):
                        self._hear(fact.body)
        finally:
            self.removals.end()

    def _hear(self, event: object) -> None:
        match event:
            case Contact.Resolved():
                self._wake(event)
            case Contact.Erased():
                self.removals.note(event.originator_id)
            case _:
                pass

    def _wake(self, event: Contact.Resolved) -> None:
        for waiter in self._waiters.get(event.originator_id, ()):
            if not waiter.done():
                waiter.set_result(event.contact_id)

    def _register(self, contact: UUID) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(contact, set()).add(waiter)
        self._waiting += 1
        return waiter

    def _leave(self, contact: UUID, waiter: Waiter) -> None:
        waiters = self._waiters[contact]
        waiters.discard(waiter)
        self._waiting -= 1
        if not waiters:
            del self._waiters[contact]

    async def _look(self, contact: UUID) -> int | None:
        found = await self._store.load(Contact, contact, fresh=True)
        return found.contact_id if found is not None else None
