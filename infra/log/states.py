"""STATES: changes of clients' states, for other systems. Implements processes.port.StateLog.

Plain JSON under `state.client.<app>.<client>`, with the position on EVENTS as Nats-Msg-Id: whoever follows the stream
needs nothing of ours to read it.
"""

from __future__ import annotations

import msgspec

from domain.devices.client_state import StateChange
from domain.recorded import STATES
from infra.eventstore.wire import pack_bytes
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from processes.port import Told

TOPIC = "client-state.changed.v1"
MSG_ID = "Nats-Msg-Id"

_encode = msgspec.json.Encoder().encode


class JetStreamStates:
    def __init__(self, js: JetStream, guard: Guard) -> None:
        self._js = js
        self._appender = Appender(js, guard, STATES)

    async def last(self, subject: str) -> Told:
        stored = await self._js.leader_get(STATES, last_by_subj=subject)
        return Told(int(stored.headers[MSG_ID]), stored.sequence) if stored is not None else Told(0, 0)

    async def append(self, subject: str, change: StateChange, *, expect: int) -> int:
        packed = pack_bytes(
            subject,
            TOPIC,
            _encode(change),
            at=change.at,
            Realm=change.realm,
            **{MSG_ID: str(change.position)},
        )
        return await self._appender.append([Entry(packed.subject, packed.lines, packed.body, expect)])


async def open_states(js: JetStream) -> JetStreamStates:
    """Raises Unavailable when there is no such stream, or no answer."""
    guard = Guard(js)
    await guard.begin((STATES,))
    return JetStreamStates(js, guard)
