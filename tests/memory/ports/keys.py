"""Keys in memory. Implements commands.port.KeyStore."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from tests.memory.lifeline import Lifeline


class Vault:
    """The bucket that all processes share; None marks a destroyed key."""

    def __init__(self) -> None:
        self.held: dict[str, bytes | None] = {}


class MemoryKeyStore:
    def __init__(self, vault: Vault | None = None, life: Lifeline | None = None) -> None:
        self.vault = vault or Vault()
        self._life = life or Lifeline()

    async def key(self, name: str, *, create: bool) -> bytes | None:
        await self._life.alive()
        if name not in self.vault.held and create:
            self.vault.held[name] = secrets.token_bytes(32)
            await self._life.step(f"key {name.partition('.')[0]}")
        return self.vault.held.get(name)

    async def keys(self, names: Sequence[str]) -> dict[str, bytes]:
        return {name: key for name, key in self.resolve(names).items() if key is not None}

    def resolve(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """As `keys`, with None for destroyed ones."""
        return {name: self.vault.held[name] for name in names if name in self.vault.held}

    async def destroy(self, name: str) -> None:
        await self._life.alive()
        self.vault.held[name] = None
        await self._life.step("key destroyed")
