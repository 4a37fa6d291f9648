"""Receipts: what comes back after a message was accepted by a channel (delivered, read, clicked...)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from domain.deliveries.delivery import Receipt, ReceiptKind
from processes.port import Append, Log


class Receipts:
    """Where the API's sockets, webhooks and REST calls put them."""

    def __init__(self, *, log: Log, clock: Callable[[], datetime]) -> None:
        self._log, self._clock = log, clock

    async def record(
        self,
        *,
        realm: str,
        message: UUID,
        channel: str,
        contact: UUID | None,
        client: UUID | None,
        kind: ReceiptKind,
        detail: str = "",
        correlation: str = "",
    ) -> int:
        """The receipt's position. A repeated receipt is another record and changes no state."""
        receipt = Receipt(
            realm=realm,
            message=message,
            channel=channel,
            contact=contact,
            client=client,
            kind=kind,
            at=self._clock(),
            detail=detail,
        )
        append = Append(f"receipt.{channel}.{message.hex}", receipt, None, correlation)
        [position] = await self._log.append(append)
        return position
