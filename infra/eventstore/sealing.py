"""Sealing of personal fields: AES-256-GCM under their owner's key. Pure but for the nonce.

A sealed value is nonce (12 bytes), ciphertext, tag. It is bound to its place (topic, subject, version,
field), so that it can't be moved to another event unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.aggregate import Event

NONCE_BYTES = 12


class Unsealable(ValueError):
    """A sealed value does not open: damaged, moved, or under another key."""


def key_name(event: Event) -> str:
    """The name of the key that seals this event's fields; "" when nothing is to be sealed.

    A key that nothing needs is not made: a device that registers without a push token has none yet.
    """
    # Hot path: of most events nothing is sealed, of a first registration nothing yet.
    fields = vars(event)
    for name in event.SEALED:
        if fields[name] is not None:
            owner = event.key_owner()
            return f"{owner.kind}.{owner.id.hex}" if owner is not None else ""
    return ""


def seal(value: Any, key: bytes, place: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, msgspec.json.encode(value), place.encode())


def unseal(sealed: bytes, key: bytes, place: str, type: Any) -> Any:
    """Raises Unsealable."""
    try:
        plain = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
    except InvalidTag:
        raise Unsealable(f"a sealed field does not open: {place}") from None
    return msgspec.json.decode(plain, type=type)


def seal_fields(event: Event, body: dict[str, Any], key: bytes, subject: str) -> None:
    """Replace the sealed fields of `body` in place; None hides nothing and stays."""
    for name in event.SEALED:
        if body[name] is not None:
            body[name] = seal(body[name], key, _place(event.TOPIC, subject, event.originator_version, name))


def unseal_fields(
    topic: str, types: Mapping[str, Any], body: dict[str, Any], key: bytes | None, place: tuple[str, int]
) -> None:
    """Open the sealed fields of `body` in place; without a key they read None. place: subject, version."""
    for name, type in types.items():
        if body[name] is not None:
            at = _place(topic, *place, name)
            body[name] = None if key is None else unseal(body[name], key, at, type)


def _place(topic: str, subject: str, version: int, field: str) -> str:
    return f"{topic}|{subject}|{version}|{field}"
