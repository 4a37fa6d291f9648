"""Tells other systems how clients' states change, each client's changes in order.

Decides nothing and keeps nothing: where it stands with a client, the last message on that client's subject says. So
several of these share the work, and one that dies leaves nothing half told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.client import Client
from domain.devices.client_state import ClientState, StateChange, state_of, state_subject
from domain.recorded import EVENTS, Recorded
from processes.port import Log, StateLog, Task
from processes.turns import Turns
from processes.worker import Post, work

CHANGES = Post(EVENTS, "client-states", ("evt.client.>",), in_flight=64)

PAGE_MAX: Final = 10_000
"""Events of an unknown client that are read at a time; all but a few clients have had fewer."""

NEXT_MAX: Final = 8
"""As many of a remembered client: there is one, or one from each process that shares the work; of a backlog no more is
read than that, however long it is.
"""

FOLDED_MAX: Final = 10_000
"""Clients whose state is remembered, some kilobytes each; the one unused for longest is forgotten first, and costs a
read of its history."""


class _Folded:
    """A client as of a position: what has happened to it since is enough to go on. app: the one it began in."""

    __slots__ = ("app", "client", "position", "state")

    def __init__(self) -> None:
        self.client: Client | None = None
        self.state: ClientState | None = None
        self.app = ""
        self.position = 0

    def fold(self, fact: Recorded) -> StateChange | None:
        """What the client's next event changed; None: nothing that is shown."""
        self.position = fact.position
        if not isinstance(fact.body, Client.Event):
            return None
        self.client = fact.body.mutate(self.client)
        assert self.client is not None
        before, self.state = self.state, state_of(self.client)
        if self.state == before:
            return None
        self.app = self.app or self.state.app
        return StateChange(
            position=fact.position,
            at=fact.at,
            realm=fact.realm,
            client=self.client.id,
            cause=fact.topic,
            old=before,
            new=self.state,
        )


class ClientStates:
    """kept: how long STATES keeps a change; an older one that is not there was told, and has been forgotten.

    Clients are remembered, so that an event costs a read of what is new. A memory is taken out while it is used, and
    put back once all up to it is told: a failure leaves none.
    """

    def __init__(self, *, log: Log, states: StateLog, clock: Callable[[], datetime], kept: timedelta) -> None:
        self._log, self._states, self._clock, self._kept = log, states, clock, kept
        self._turns = Turns()
        self._folded: OrderedDict[UUID, _Folded] = OrderedDict()

    async def run(self) -> None:
        await work(self._log, CHANGES, self.tell)

    async def tell(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, Client.Event):
            return
        turn = self._turns.take(fact.body.originator_id)
        try:
            await turn.come()
            await self._tell(fact, fact.body.originator_id)
        finally:
            turn.end()

    async def _tell(self, fact: Recorded, client: UUID) -> None:
        """All that has happened to the client up to this fact and is not told yet."""
        folded = self._folded.pop(client, None) or _Folded()
        changes = await self._changes(folded, fact)
        if changes:
            await self._append(state_subject(folded.app, client), changes)
        self._folded[client] = folded
        while len(self._folded) > FOLDED_MAX:
            self._folded.popitem(last=False)

    async def _changes(self, folded: _Folded, fact: Recorded) -> list[StateChange]:
        """What changed after `folded` and up to the fact; `folded` is brought there."""
        changes: list[StateChange] = []
        while folded.position < fact.position:
            limit = NEXT_MAX if folded.position else PAGE_MAX
            facts = await self._log.read(EVENTS, fact.subject, after=folded.position, limit=limit)
            new = [each for each in facts if each.position <= fact.position]
            if not new:
                break
            changes += [change for each in new if (change := folded.fold(each)) is not None]
        return changes

    async def _append(self, subject: str, changes: list[StateChange]) -> None:
        told = await self._states.last(subject)
        forgotten = self._clock() - self._kept if self._kept else None
        expect = told.place
        for change in changes:
            is_new = change.position > told.position
            if told.position == 0 and forgotten is not None:
                is_new = change.at > forgotten
            if is_new:
                expect = await self._states.append(subject, change, expect=expect)
