"""What the RES service needs besides the log: a bus, and who callers are. Implementations live in infra/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from domain.context import Caller, Context

Reply = Callable[[bytes], Awaitable[None]]
Handle = Callable[[str, bytes, Reply], Awaitable[None]]
Unwatch = Callable[[], Awaitable[None]]


class Bus(Protocol):
    """Core messaging: what is sent while the connection is lost is lost. Sends keep their order.

    Errors: domain.errors.Unavailable.
    """

    async def watch(self, subject: str, handle: Handle, *, group: str = "") -> Unwatch:
        """Have each request handled, a bounded number at a time; once this returns, requests come.

        group: of all who watch in the same one, each request goes to one.
        """
        ...

    async def send(self, subject: str, payload: bytes) -> None: ...

    async def is_answered(self, subject: str, *, timeout_s: float) -> bool:
        """Whether anybody answers an empty request in time; at once where nobody watches the subject."""
        ...

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]: ...


class Known(Protocol):
    """Who a token stands for, and until when (seconds since 1970)."""

    @property
    def caller(self) -> Caller: ...
    @property
    def expires_at_s(self) -> float: ...


Admit = Callable[[str | None], Awaitable[Known]]
Publish = Callable[[UUID, bytes, str, Context, str], Awaitable[int]]
"""(shop, body, topic, context, claim), as api.ezout.port.ShopLog has it."""
