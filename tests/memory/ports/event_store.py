"""Aggregates in memory. Implements commands.port.EventStore on the streams' EVENTS."""

from __future__ import annotations

from uuid import UUID

from commands.port import VersionConflict
from domain.aggregate import Aggregate, Event
from domain.context import Context
from domain.errors import Conflict, MsgxcError
from domain.recorded import EVENTS
from infra.eventstore.catalogue import Catalogue, domain_catalogue
from infra.eventstore.sealing import key_name
from infra.eventstore.wire import digest_of, event_subject, header_text, pack_event, unpack_event
from infra.nats.wire.frames import Stored
from tests.memory.lifeline import Lifeline
from tests.memory.ports.keys import MemoryKeyStore
from tests.memory.ports.streams import Entry, Streams

CATALOGUE: Catalogue = domain_catalogue()


class MemoryEventStore:
    """stale_behind: plain loads don't see that many of the newest events, as from a replica that lags.

    fail: raised by the next saves, before anything is stored.
    """

    def __init__(
        self,
        streams: Streams,
        keys: MemoryKeyStore,
        *,
        life: Lifeline | None = None,
        stale_behind: int = 0,
    ) -> None:
        self._streams, self._keys = streams, keys
        self._life = life or Lifeline()
        self.stale_behind = stale_behind
        self.fail: list[MsgxcError] = []

    async def load[A: Aggregate](self, kind: type[A], id: UUID, *, fresh: bool = False) -> A | None:
        await self._life.alive()
        end = len(self._streams.messages[EVENTS]) - (0 if fresh else self.stale_behind)
        aggregate: Aggregate | None = None
        before: Stored | None = None
        for stored in self._streams.on_subject(EVENTS, event_subject(kind.TOPIC, id)):
            if stored.sequence > end:
                break
            assert stored.headers.get("Prev", "") == (digest_of(before) if before else ""), "a broken chain"
            keys = self._keys.resolve([name] if (name := stored.headers.get("Key")) else [])
            aggregate = unpack_event(stored, CATALOGUE, keys).mutate(aggregate)
            before = stored
        assert aggregate is None or isinstance(aggregate, kind)
        return aggregate

    async def save(self, *aggregates: Aggregate, context: Context, claim: str | None = None) -> int:
        await self._life.alive()
        changed = [aggregate for aggregate in aggregates if aggregate.pending_events]
        if not changed:
            return 0
        if self.fail:
            raise self.fail.pop(0)
        entries: list[Entry] = []
        for aggregate in changed:
            entries += await self._entries_of(aggregate, context, None if entries else claim)
        position = self._streams.append(EVENTS, entries)[-1]
        for aggregate in changed:
            aggregate.collect_events()
        await self._life.step(f"save {' '.join(entry.subject.split('.')[1] for entry in entries)}")
        return position

    async def claim_of(self, kind: type[Aggregate], id: UUID) -> tuple[int, str | None] | None:
        await self._life.alive()
        found = self._streams.on_subject(EVENTS, event_subject(kind.TOPIC, id))
        return (found[0].sequence, header_text(found[0].headers, "Claim") or None) if found else None

    async def realm_of(self, kind: type[Aggregate], id: UUID) -> str | None:
        await self._life.alive()
        found = self._streams.on_subject(EVENTS, event_subject(kind.TOPIC, id))
        return header_text(found[0].headers, "Realm") if found else None

    async def _entries_of(self, aggregate: Aggregate, context: Context, claim: str | None) -> list[Entry]:
        subject = event_subject(type(aggregate).TOPIC, aggregate.id)
        there = self._streams.on_subject(EVENTS, subject)
        events: list[Event] = list(aggregate.pending_events)
        if len(there) != events[0].originator_version - 1:
            raise VersionConflict(f"version {len(there)} is there")
        prev = digest_of(there[-1]) if there else ""
        entries: list[Entry] = []
        for event in events:
            packed = pack_event(event, context, prev=prev, key=await self._key_of(event), claim=claim)
            expect = None if entries else (there[-1].sequence if there else 0)
            entries.append(Entry(packed.subject, packed.lines, packed.body, expect))
            prev, claim = packed.digest, None
        return entries

    async def _key_of(self, event: Event) -> bytes | None:
        name = key_name(event)
        if not name:
            return None
        key = await self._keys.key(name, create=True)
        if key is None:
            raise Conflict("whom this belongs to was erased, and nothing can be sealed for them")
        return key
