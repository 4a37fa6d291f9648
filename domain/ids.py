"""Our ids: UUIDv8 made by HMAC-SHA256 from an outside id, so that a subject reveals nothing.

The id key never rotates: the same outside id must give the same id for ever. The first byte of an id
decides its partition, so aggregates that are read together share it (RFC 9562, section 5.8).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from uuid import UUID

import msgspec

PARTITIONS = 64
"""How many processes can share one stream's work. Fixed for ever: it is part of every subject."""

KNOWN_MAX = 20_000
"""Derived ids kept in memory, about 5 MB."""

_BLOCK_BYTES = 64
_VERSION_8, _VARIANT = 0x80, 0x80
_BITS_AFTER_FIRST_BYTE = 120
_BIN_16 = b"\xc4\x10"
"""What msgpack writes before 16 bytes."""
_uuid_of = msgspec.msgpack.Decoder(UUID).decode
"""Hot path: a sixth of the time that UUID itself takes for it."""
_PARTITION_OF_BYTE = tuple(f"{first % PARTITIONS:02x}" for first in range(256))


def partition(id: UUID) -> str:
    """The partition of an id: first byte modulo 64, two hex digits."""
    return _PARTITION_OF_BYTE[id.int >> _BITS_AFTER_FIRST_BYTE]


class Ids:
    """Derives every id that appears on a subject.

    `key`: at least 32 bytes, secret, kept for the life of the log.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the id key needs at least 32 bytes")
        block = key if len(key) <= _BLOCK_BYTES else sha256(key).digest()
        # HMAC-SHA256 (RFC 2104) with its two keyed states made once: half the time of doing it anew each time.
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block.ljust(_BLOCK_BYTES, b"\0")))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block.ljust(_BLOCK_BYTES, b"\0")))
        # Hot path: a thread's or a contact's id is asked for with every message that names it.
        self._known = lru_cache(KNOWN_MAX)(self.derive)

    def derive(self, realm: str, kind: str, outside: str, *, like: UUID | None = None) -> UUID:
        """The id of what `outside` names in `realm`; placed in the partition of `like` if given."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{realm}|{kind}|{outside}".encode())
        outer.update(inner.digest())
        return _id(outer.digest()[:16], like)

    def contact(self, realm: str, uid: str) -> UUID:
        return self._known(realm, "contact", uid)

    def thread(self, realm: str, tid: str) -> UUID:
        return self._known(realm, "thread", tid)

    def app(self, code: str) -> UUID:
        """The same in all realms, since a path names the code alone; letters' case is nothing."""
        return self._known("", "app", code.casefold())

    def merchant(self, realm: str) -> UUID:
        """What signals are about where there is no app."""
        return self._known("", "merchant", realm)

    def client(self, realm: str, app: str, client_id: str) -> UUID:
        return self.derive(realm, "client", f"{app}|{client_id}")

    def subscription(self, realm: str, thread: UUID, contact: UUID) -> UUID:
        return self.derive(realm, "subscription", f"{thread.hex}|{contact.hex}", like=thread)

    def message(self, realm: str, nonce: str, *, thread: UUID | None = None) -> UUID:
        return self.derive(realm, "message", nonce, like=thread)

    def fresh(self, nonce: str, *, like: UUID | None = None) -> UUID:
        """The id of what has no outside name. nonce: 32 hex digits of randomness, which stand for themselves."""
        return _id(bytes.fromhex(nonce), like)

    def token(self, realm: str, channel: str, address: str) -> UUID:
        """A key to look an address up by, without storing or showing it."""
        return self.derive(realm, "token", f"{channel}|{address}")

    def own_token(self, realm: str, channel: str, address: str) -> UUID:
        """The same for a contact's own phone or mailbox, which providers may give back in other letters."""
        return self.token(realm, channel, address.casefold())


def _id(digest: bytes, like: UUID | None) -> UUID:
    """16 bytes as a UUIDv8, in the partition of `like` if given."""
    raw = bytearray(digest)
    if like is not None:
        raw[0] = like.int >> _BITS_AFTER_FIRST_BYTE
    raw[6] = raw[6] & 0x0F | _VERSION_8
    raw[8] = raw[8] & 0x3F | _VARIANT
    return _uuid_of(_BIN_16 + raw)
