"""What the EzOut contract needs of the world. Implementations live in infra/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.context import Context

ShopCallback = Callable[[int, int, bytes], None]
"""(position, previous position of the same shop, body)."""

Unsubscribe = Callable[[], Awaitable[None]]


ShopEntry = tuple[int, bytes, datetime | None]
"""(position, body as it was published, when; None where nobody has said when)."""


class ShopLog(Protocol):
    """SHOPS: every update and message of every shop, in one order of positions.

    Errors: domain.errors.Unavailable when the log does not answer in time.
    """

    def epoch(self) -> str:
        """The log's epoch. A position of another epoch means nothing."""
        ...

    async def publish(self, shop: UUID, body: bytes, *, topic: str, context: Context, claim: str = "") -> int:
        """Append, and return the position once the stream has acknowledged it; subscribers get `body` as it is.

        claim: what is published again under the same one within a day is there once, whatever process and
        connection it came by. Errors: Unavailable (nothing stored), OutcomeUnknown, ClaimMismatch (another body).
        """
        ...

    async def head(self) -> int:
        """The last position of the stream, asked of its leader; 0 for an empty one."""
        ...

    async def since(self, shop: UUID, after: int, limit: int) -> list[ShopEntry]:
        """The first `limit` messages of a shop after a position, oldest first; every acknowledged one is seen."""
        ...

    async def subscribe(self, shop: UUID, callback: ShopCallback) -> Unsubscribe:
        """Call back for each new message of a shop, at most once each, in order of position.

        Once this returns, later messages come. One may be lost (the connection broke): the next one's previous
        position shows it, and `since` has it. The callback does not block.
        """
        ...

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` run whenever messages may have been lost; what is returned ends that."""
        ...


class Revocations(Protocol):
    async def valid_since_s(self, uid: str) -> float | None:
        """Tokens of this user issued before (seconds since 1970) are revoked; None: the user is gone or disabled.

        Errors: domain.errors.Unavailable.
        """
        ...
