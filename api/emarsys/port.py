"""What the Emarsys contract needs of the world. Implementations live in infra/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from domain.devices.signal import DeviceEvents, Interaction, SignalKind
from processes.directories import AppDirectory, ContactData, Merchants

__all__ = ["AppDirectory", "ContactData", "Merchants"]
"""What both the API and the processes ask for."""


class SigningKey(Protocol):
    """One key and the one algorithm that it is for (RFC 7518: HS256, ES256 or EdDSA). Quick: no network behind it."""

    @property
    def kid(self) -> str: ...

    @property
    def algorithm(self) -> str: ...

    def sign(self, data: bytes) -> bytes:
        """The signature in the form that a JWS carries."""
        ...

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Never raises, whatever the signature is."""
        ...


class SigningKeySet(Protocol):
    """An immutable set. Its identity is its version: a changed set is another object."""

    @property
    def signing(self) -> SigningKey:
        """The one that signs now; it is among `verifying`."""
        ...

    @property
    def verifying(self) -> Sequence[SigningKey]:
        """All whose tokens are good, each with a kid of its own."""
        ...


class SigningKeys(Protocol):
    def current(self) -> SigningKeySet:
        """The keys of now; the same object as long as nothing has changed.

        Quick and without waiting: called for every token. At most a second behind what this process has read of the
        source. A key signs only once every process has had the time to learn of it.
        """
        ...


class Resolutions(Protocol):
    """The contact data's numbers, for who can wait for them."""

    async def resolved(self, realm: str, contact: UUID, timeout_s: float) -> int | None:
        """The contact's number as soon as it has one; None when it has none after `timeout_s` (0: just look).

        Nothing is asked for again and again, and no number that comes between the look and the wait is missed. Raises
        Unavailable when the log does not answer.
        """
        ...


class Removals(Protocol):
    """Which contacts were erased."""

    def known(self, contact: UUID) -> bool | None:
        """As `is_removed`, where that is in memory; else None: ask. Quick."""
        ...

    async def is_removed(self, contact: UUID) -> bool:
        """Whether the contact was erased, at most a second ago or any time before.

        Quick: nearly always from memory, else a bounded look. Raises Unavailable when nobody can say.
        """
        ...


class SignalSink(Protocol):
    """SIGNALS, as the API writes it."""

    @property
    def in_flight(self) -> int:
        """Signals that wait for the stream's acknowledgement now."""
        ...

    async def append(
        self, signal: DeviceEvents, *, kind: SignalKind, realm: str, correlation: str = ""
    ) -> int:
        """The signal's position, once the stream has it. Raises Unavailable or OutcomeUnknown, or TooLarge."""
        ...

    def note(self, realm: str, client: UUID, app: str, call: Interaction) -> None:
        """Keep one call of a client in the log of interactions, some time later. Never waits and never raises.

        What there is no room for is dropped, and counted on /metrics.
        """
        ...
