"""What commands need of the event store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from domain.aggregate import Aggregate
from domain.context import Context
from domain.errors import Conflict
from domain.message import Content
from domain.thread import Thread


class VersionConflict(Conflict):
    """Somebody else changed the aggregate first: nothing was stored, load again and decide again."""

    code, retryable = "version-conflict", True


class EventStore(Protocol):
    """Aggregates in and out of the log.

    Atomicity: a save is all or nothing, over all its aggregates.
    Order: a save that returned is visible to every later `load(..., fresh=True)`; a plain load may be stale,
    and then the save that builds on it is refused.
    Errors: VersionConflict (nothing stored), Unavailable (nothing stored), OutcomeUnknown (the log could
    not even be asked again).
    """

    async def load[A: Aggregate](self, kind: type[A], id: UUID, *, fresh: bool = False) -> A | None:
        """The aggregate from its events, None if it has none. Its hash chain is checked."""
        ...

    async def save(self, *aggregates: Aggregate, context: Context, claim: str | None = None) -> int:
        """Append all pending events; the position of the last one.

        claim: hash of the command's parameters, kept as a header of the first event, so that a twin under the
        same idempotency key can be told from a different command. An aggregate without pending events is
        passed over; if none has any, the answer is 0.
        """
        ...

    async def claim_of(self, kind: type[Aggregate], id: UUID) -> tuple[int, str | None] | None:
        """(position, claim) of an aggregate's first event, read from the leader; None if there is none."""
        ...

    async def realm_of(self, kind: type[Aggregate], id: UUID) -> str | None:
        """The realm that an aggregate began in, and so belongs to; None if there is none."""
        ...


class KeyStore(Protocol):
    """Keys that seal personal fields. They live outside the log, wrapped by the master key."""

    async def key(self, name: str, *, create: bool) -> bytes | None:
        """32 bytes for `kind.hex-id` or `day.YYYY-MM-DD`; None when absent or destroyed and not `create`.

        A destroyed name is never created again.
        """
        ...

    async def keys(self, names: Sequence[str]) -> dict[str, bytes]:
        """Those of `names` that exist, in one round trip for a thousand."""
        ...

    async def destroy(self, name: str) -> None:
        """Final: whatever the key sealed can't be read again, on any process, within a second."""
        ...


class ThreadDirectory(Protocol):
    """Threads, and who writes to them, as the publish path sees them: from memory, at most a second old."""

    async def thread(self, id: UUID) -> Thread | None: ...

    async def is_erased(self, contact: UUID) -> bool: ...


class TokenOwners(Protocol):
    """Who has a push token, after all that is on the log by now."""

    async def has_lost(self, realm: str, client: UUID, token: UUID) -> bool:
        """Whether another client has set the token since this one did. False also when nobody can say in time: a device
        that tells again what is so must be answered, and cost no event, when the read models are behind.
        """
        ...


class ContentCheck(Protocol):
    """Whether the channels can carry a message."""

    def __call__(self, content: Content, channels: Sequence[str] | None, *, style: str = "") -> None:
        """Raise TooLarge or Invalid, naming the channel, for content that one of `channels` (None: all) can't carry.

        style: the form in which an app's SDK gets it; "" for the channels' own.
        """
        ...
