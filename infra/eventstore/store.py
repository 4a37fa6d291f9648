"""The event store: aggregates from their events, and their new events onto EVENTS. Implements commands.port.

Every event follows its predecessor by version and by digest; a chain that does not hold is never built upon.
Plain loads may lag behind; the expected sequence of the save then refuses. Decisions are made on what the
stream's leader says.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from commands.port import VersionConflict
from domain.aggregate import Aggregate
from domain.context import Context
from domain.errors import Conflict, MsgxcError
from domain.recorded import EVENTS
from infra.eventstore.catalogue import Catalogue
from infra.eventstore.hot import NOTHING, Head, Memory
from infra.eventstore.sealing import key_name
from infra.eventstore.wire import digest_of, event_subject, header_text, pack_event, unpack_event
from infra.keys.store import JetStreamKeyStore
from infra.nats.appending.appends import Entry
from infra.nats.appending.committer import Committer
from infra.nats.jetstream import JetStream
from infra.nats.wire.frames import Stored

EVENTS_OF_ONE_MAX = 100_000
"""An aggregate with more events is a design error, and reading it would stop everything else."""


class BrokenChain(MsgxcError):
    """Events of an aggregate do not follow one another: the log was damaged or tampered with."""

    code, title = "broken-chain", "The log is damaged"


_End = tuple[Aggregate, int, int, str]
"""Where an aggregate's events end in what is appended: its version then, their number, the last digest."""


class JetStreamEventStore:
    """commands.port.EventStore."""

    def __init__(
        self, js: JetStream, committer: Committer, catalogue: Catalogue, keys: JetStreamKeyStore
    ) -> None:
        self._js, self._committer = js, committer
        self._catalogue, self._keys = catalogue, keys
        self._memory = Memory()
        keys.on_destroyed(self._memory.forget_aggregates)

    async def load[A: Aggregate](self, kind: type[A], id: UUID, *, fresh: bool = False) -> A | None:
        recalled = self._memory.recall(id)
        aggregate: Aggregate | None = None
        head = NOTHING
        if recalled is not None:
            aggregate, head, current = recalled
            if current and not fresh:
                assert isinstance(aggregate, kind)
                return aggregate
        news = await self._read(event_subject(kind.TOPIC, id), after=head.sequence, fresh=fresh)
        aggregate, head = await self._replay(aggregate, head, news)
        if aggregate is None:
            return None
        self._memory.loaded(aggregate, head)
        assert isinstance(aggregate, kind)
        return aggregate

    async def save(self, *aggregates: Aggregate, context: Context, claim: str | None = None) -> int:
        # Hot path: packed here, since a coroutine for each aggregate would hardly ever have to wait.
        entries: list[Entry] = []
        ends: list[_End] = []
        for aggregate in aggregates:
            events = aggregate.pending_events
            if not events:
                continue
            version = events[0].originator_version
            head = NOTHING if version == 1 else await self._head_before(aggregate, version)
            prev = head.digest
            expect: int | None = head.sequence
            digested = version > 1 or len(events) > 1  # nobody asks for that of a single first event
            for event in events:
                name = key_name(event)
                key = await self._sealing_key(name) if name else None
                packed = pack_event(event, context, prev=prev, key=key, claim=claim, digested=digested)
                entries.append(Entry(packed.subject, packed.lines, packed.body, expect))
                prev, expect, claim = packed.digest, None, None
            ends.append((aggregate, events[-1].originator_version, len(entries), prev))
        if not entries:
            return 0
        try:
            position = await self._committer.append(entries)
        except MsgxcError:
            for aggregate, *_ in ends:
                self._memory.forget(aggregate.id)
            raise
        before = position - len(entries)
        for aggregate, version, number, digest in ends:
            aggregate.pending_events.clear()
            if version > 1:  # of one that has just begun nothing is remembered
                self._memory.saved(aggregate, Head(version, before + number, digest))
        return position

    async def claim_of(self, kind: type[Aggregate], id: UUID) -> tuple[int, str | None] | None:
        first = await self._first(kind, id)
        return None if first is None else (first.sequence, header_text(first.headers, "Claim") or None)

    async def realm_of(self, kind: type[Aggregate], id: UUID) -> str | None:
        first = await self._first(kind, id)
        return None if first is None else header_text(first.headers, "Realm")

    async def _first(self, kind: type[Aggregate], id: UUID) -> Stored | None:
        return await self._js.leader_get(EVENTS, seq=1, next_by_subj=event_subject(kind.TOPIC, id))

    async def _head_before(self, aggregate: Aggregate, version: int) -> Head:
        """Where the aggregate's events end, if they end just before `version`; else VersionConflict."""
        head = self._memory.head(aggregate.id)
        if head is None or head.version < version - 1:
            subject = event_subject(type(aggregate).TOPIC, aggregate.id)
            last = await self._js.leader_get(EVENTS, last_by_subj=subject)
            head = NOTHING if last is None else _head_of(last)
        if head.version != version - 1:
            self._memory.forget(aggregate.id)
            raise VersionConflict(f"version {head.version} is there, {version} cannot follow it")
        return head

    async def _sealing_key(self, name: str) -> bytes:
        key = await self._keys.key(name, create=True)
        if key is None:
            raise Conflict("whom this belongs to was erased, and nothing can be sealed for them")
        return key

    async def _read(self, subject: str, *, after: int, fresh: bool) -> list[Stored]:
        """Events after a position: with `fresh`, all of them; else what a replica may have."""
        if not fresh:
            return await self._js.direct_get(EVENTS, subject, seq=after + 1, limit=EVENTS_OF_ONE_MAX)
        if after:
            return await self._js.leader_read(EVENTS, subject, seq=after + 1, limit=EVENTS_OF_ONE_MAX)
        return await self._js.read(EVENTS, subject, limit=EVENTS_OF_ONE_MAX)

    async def _replay(
        self, aggregate: Aggregate | None, head: Head, news: Sequence[Stored]
    ) -> tuple[Aggregate | None, Head]:
        """Apply events; raises BrokenChain for one that does not follow its predecessor."""
        keys = await self._keys.resolve(name for each in news if (name := each.headers.get("Key")))
        for stored in news:
            follower = _head_of(stored)
            if follower.version != head.version + 1 or stored.headers.get("Prev", "") != head.digest:
                raise BrokenChain(f"{stored.subject} does not follow on itself at {stored.sequence}")
            try:
                event = unpack_event(stored, self._catalogue, keys)
            except ValueError as error:
                raise BrokenChain(f"{stored.subject} at {stored.sequence}: {error}") from error
            aggregate = event.mutate(aggregate)
            head = follower
        return aggregate, head


def _head_of(stored: Stored) -> Head:
    return Head(int(stored.headers["Version"]), stored.sequence, digest_of(stored))
