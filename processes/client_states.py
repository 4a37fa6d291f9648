"""Tells other systems how clients' states change, each client's changes in order.

Decides nothing and keeps nothing: where it stands with a client, the last message on that client's subject says. So
several of these share the work, and one that dies leaves nothing half told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from domain.client import Client
from domain.client_state import ClientState, StateChange, state_of, state_subject
from domain.recorded import EVENTS, Recorded
from processes.port import Log, StateLog, Task
from processes.turns import Turns
from processes.worker import Post, work

CHANGES = Post(EVENTS, "client-states", ("evt.client.>",), in_flight=64)

EVENTS_OF_ONE_MAX: Final = 100_000
"""As many as the store reads of one aggregate."""


class ClientStates:
    """kept: how long STATES keeps a change; an older one that is not there was told, and has been forgotten."""

    def __init__(self, *, log: Log, states: StateLog, clock: Callable[[], datetime], kept: timedelta) -> None:
        self._log, self._states, self._clock, self._kept = log, states, clock, kept
        self._turns = Turns()

    async def run(self) -> None:
        await work(self._log, CHANGES, self.tell)

    async def tell(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, Client.Event):
            return
        turn = self._turns.take(fact.body.originator_id)
        try:
            await turn.come()
            await self._tell(fact)
        finally:
            turn.end()

    async def _tell(self, fact: Recorded) -> None:
        """All that has happened to the client up to this fact and is not told yet."""
        facts = await self._log.read(EVENTS, fact.subject, limit=EVENTS_OF_ONE_MAX)
        changes = [change for change in changes_of(facts) if change.position <= fact.position]
        if not changes:
            return
        subject = state_subject(changes[0].new.app, changes[0].client)
        told = await self._states.last(subject)
        forgotten = self._clock() - self._kept if self._kept else None
        expect = told.place
        for change in changes:
            is_new = change.position > told.position
            if told.position == 0 and forgotten is not None:
                is_new = change.at > forgotten
            if is_new:
                expect = await self._states.append(subject, change, expect=expect)


def changes_of(facts: Iterable[Recorded]) -> Iterable[StateChange]:
    """What each event of one client changed; those that changed nothing that is shown are left out."""
    client: Client | None = None
    before: ClientState | None = None
    for fact in facts:
        if not isinstance(fact.body, Client.Event):
            continue
        client = fact.body.mutate(client)
        assert client is not None
        after = state_of(client)
        if after != before:
            yield StateChange(
                position=fact.position,
                at=fact.at,
                realm=fact.realm,
                client=client.id,
                cause=fact.topic,
                old=before,
                new=after,
            )
        before = after
