"""Signing keys that a test rotates."""

from __future__ import annotations

from infra.signing.key import Key, KeySet, key_set, parse


def signing_key(kid: str, content: bytes = b"") -> Key:
    """A key under this kid: of HS256, unless the content (a PEM, a secret) says another."""
    [key] = parse(content or kid.encode().hex().ljust(64, "0").encode(), source="test", kid=kid)
    return key


class MemorySigningKeys:
    """api.emarsys.port.SigningKeys; the first one signs."""

    def __init__(self, *keys: Key) -> None:
        self.use(*keys or (signing_key("first"),))

    def use(self, *keys: Key) -> None:
        self._set = key_set(keys, source="test")

    def current(self) -> KeySet:
        return self._set
