"""Which contacts were erased, from memory: asked with every batch of device events, and of whoever publishes.

Implements api.emarsys.port.Removals, and that part of commands.port.ThreadDirectory. Owns what this process remembers
of that, and hears of each erasure from whoever follows the contacts' events (see infra.lookups.resolutions). An erasure
is for good, so nothing that was remembered or read before takes one back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from uuid import UUID

from commands.port import EventStore
from domain.contact import Contact
from domain.errors import Unavailable

CONTACTS_MAX: Final = 50_000
"""Contacts remembered, some 200 bytes each; the one first asked for is forgotten first."""
LOOK_S_MAX: Final = 0.5
"""A device waits for it whose events are taken in any case when nobody can say."""


class RememberedRemovals:
    """While nobody follows, nothing is remembered but erasures, and every question is a look at the log."""

    def __init__(self, store: EventStore, *, contacts_max: int = CONTACTS_MAX) -> None:
        self._store, self._max = store, contacts_max
        # By the ids' numbers: a hash of a UUID is a call of Python, and this is asked with every batch.
        self._known: dict[int, bool] = {}
        self._reading: object | None = None

    def known(self, contact: UUID) -> bool | None:
        return self._known.get(contact.int)

    def is_removed(self, contact: UUID) -> Coroutine[Any, Any, bool]:
        return self.is_erased(contact, timeout_s=LOOK_S_MAX)

    async def is_erased(self, contact: UUID, *, timeout_s: float | None = None) -> bool:
        """The same for a caller who can wait for as long as the log takes to answer."""
        # Hot path: who publishes, or tells events, is nearly always one that was asked for before.
        known = self._known.get(contact.int)
        return await self._look(contact, timeout_s) if known is None else known

    def begin(self) -> None:
        """Every erasure from now on will be noted."""
        self._reading = object()

    def note(self, contact: UUID) -> None:
        """It was erased."""
        self._keep(contact, removed=True)

    def end(self) -> None:
        """Erasures may go unseen from now on."""
        self._reading = None
        self._known = {contact: True for contact, removed in self._known.items() if removed}

    async def _look(self, contact: UUID, timeout_s: float | None) -> bool:
        reading = self._reading
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._store.load(Contact, contact, fresh=True)
        except TimeoutError:
            raise Unavailable("the log does not answer") from None
        if found is not None and found.erased:
            self._keep(contact, removed=True)
        elif reading is not None and reading is self._reading:
            # An erasure since the look is noted already, and stays.
            self._keep(contact, removed=self._known.get(contact.int, False))
        return self._known.get(contact.int, False)

    def _keep(self, contact: UUID, *, removed: bool) -> None:
        self._known[contact.int] = removed
        if len(self._known) > self._max:
            del self._known[next(iter(self._known))]
