"""What the doppler contract is made of, put in from outside by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from api.doppler.auth import Superusers
from commands.port import KeyStore
from domain.context import DEFAULT_REALM


class TokenCheck(Protocol):
    async def is_good(self, token: str) -> bool | None:
        """Whether the push provider knows a device token; None when it cannot be asked now."""
        ...


class TrustingCheck:
    """Where no provider can be asked: the first send shows what a token is worth."""

    async def is_good(self, token: str) -> bool | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OldLinks:
    """Key and IV of links that the original made (AES-CBC). realms: where the messages may be that they name."""

    key: bytes
    iv: bytes
    realms: tuple[str, ...] = (DEFAULT_REALM,)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDomains:
    superusers: Superusers
    keys: KeyStore
    tokens: TokenCheck = field(default_factory=TrustingCheck)
    old_links: OldLinks | None = None
