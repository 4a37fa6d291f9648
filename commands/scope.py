"""What a handler works with: who asks, when, and the doors to the log. One scope per attempt at a command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commands.port import ContentCheck, EventStore, ThreadDirectory, TokenOwners
from domain.aggregate import Aggregate
from domain.context import Caller, Context
from domain.errors import ClaimMismatch
from domain.ids import Ids
from domain.request import Request


class Claim(msgspec.Struct, frozen=True):
    """An idempotency key in its scope (realm, caller, route, thread), and the hash of the parameters."""

    scope: str
    digest: str
    route: str


def claim_for(key: str, *, caller: Caller, route: str, thread: str, command: msgspec.Struct) -> Claim:
    """The claim of one call: two calls are twins when scope and digest are equal."""
    parameters = hashlib.sha256(msgspec.json.encode(command, order="sorted")).hexdigest()
    return Claim(_scope_of(caller.realm, caller.uid, route, thread, key), parameters, route)


def _scope_of(*parts: str) -> str:
    """One text for the parts of a claim, which no other parts have.

    Ids on the log come from it, so its form stays; but parts before the last that hold the separator could be split
    otherwise, and have a form of their own. It begins as no realm does.
    """
    if any("|" in part for part in parts[:-1]):
        return "\0" + "".join(f"{len(part)}:{part}" for part in parts)
    return "|".join(parts)


class Trace(msgspec.Struct):
    """What a handler has done so far: loaded aggregates, appended events."""

    loaded: bool = False
    appended: bool = False


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """caller None: one of our own processes acts. nonce: fresh randomness for the id of what is created, 32 hex digits,
    others with each call.

    fresh: what is loaded is what the leader has; else it may be behind, and only an append would notice.
    """

    store: EventStore
    threads: ThreadDirectory
    check: ContentCheck
    ids: Ids
    context: Context
    now: datetime
    nonce: Callable[[], str]
    owners: TokenOwners | None = None
    caller: Caller | None = None
    claim: Claim | None = None
    fresh: bool = False
    trace: Trace = msgspec.field(default_factory=Trace)

    @property
    def realm(self) -> str:
        return self.context.realm

    @property
    def is_certain(self) -> bool:
        """Whether what was decided here can't have been decided on something that is no longer so."""
        return self.fresh or self.trace.appended or not self.trace.loaded

    async def load[A: Aggregate](self, kind: type[A], id: UUID) -> A | None:
        self.trace.loaded = True
        return await self.store.load(kind, id, fresh=self.fresh)

    async def load_from_leader[A: Aggregate](self, kind: type[A], id: UUID) -> A | None:
        """For decisions that append nothing: what is read is what is so, and no second look is needed."""
        return await self.store.load(kind, id, fresh=True)

    def create(self, aggregate: Aggregate) -> Coroutine[Any, Any, int]:
        """Append what takes its id from the claim, if there is one; the claim's digest is kept with it."""
        # Whatever comes of it: what the log says of the new id is certain.
        self.trace.appended = True
        return self.store.save(
            aggregate, context=self.context, claim=None if self.claim is None else self.claim.digest
        )

    def save(self, *aggregates: Aggregate, answer: Any = None) -> Coroutine[Any, Any, int]:
        """Append all pending events; a claim on a command that creates nothing goes into the same batch.

        answer: what the handler will return, for twins of the call.
        """
        if self.claim is None:
            return self._append(*aggregates)
        request = Request.make(
            id=self._request_id(self.claim),
            at=self.now,
            command=self.claim.route,
            answer=msgspec.to_builtins(answer),
        )
        # First, since the digest is kept with the first event of a batch.
        return self._append(request, *aggregates, claim=self.claim.digest)

    async def _append(self, *aggregates: Aggregate, claim: str | None = None) -> int:
        position = await self.store.save(*aggregates, context=self.context, claim=claim)
        self.trace.appended |= position > 0
        return position

    async def twin(self) -> Request | None:
        """The same call, if it has been carried out before. Raises ClaimMismatch for other parameters."""
        if self.claim is None:
            return None
        id = self._request_id(self.claim)
        found = await self.store.claim_of(Request, id)
        if found is None:
            return None
        assert_same(self.claim, found[1])
        return await self.store.load(Request, id, fresh=True)

    async def is_of_realm(self, aggregate: Aggregate) -> bool:
        """Whether it belongs to the realm that acts: an id that a caller gives says nothing of that."""
        return await self.store.realm_of(type(aggregate), aggregate.id) == self.realm

    def _request_id(self, claim: Claim) -> UUID:
        return self.ids.derive(self.realm, "request", claim.scope)


def assert_same(claim: Claim, recorded: str | None) -> None:
    """Raises ClaimMismatch unless the recorded parameters are this call's."""
    if recorded != claim.digest:
        raise ClaimMismatch(
            "this Idempotency-Key was used with other parameters; use a new key for a new request",
            field="Idempotency-Key",
        )
