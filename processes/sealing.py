"""What a dispatch hides: content and addresses, under the key of the day, which is destroyed after 35 days."""

from __future__ import annotations

import os
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commands.port import KeyStore
from domain.deliveries.delivery import Dispatch, Sealed

NONCE_BYTES = 12
_encode = msgspec.json.Encoder(uuid_format="hex").encode
_decode = msgspec.json.Decoder(Sealed).decode


def day_key(at: datetime) -> str:
    return f"day.{at:%Y-%m-%d}"


async def seal(keys: KeyStore, name: str, hidden: Sealed, *, bound_to: str) -> bytes:
    """bound_to: the dispatch's id; the blob opens for that dispatch alone."""
    key = await keys.key(name, create=True)
    if key is None:
        raise ValueError(f"the key {name} was destroyed")
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, _encode(hidden), bound_to.encode())


async def unseal(keys: KeyStore, dispatch: Dispatch) -> Sealed | None:
    """None once the day's key is destroyed. Raises ValueError for a blob that was tampered with."""
    key = await keys.key(dispatch.key, create=False)
    if key is None:
        return None
    nonce, blob = dispatch.sealed[:NONCE_BYTES], dispatch.sealed[NONCE_BYTES:]
    try:
        return _decode(AESGCM(key).decrypt(nonce, blob, dispatch.id.encode()))
    except InvalidTag as error:
        raise ValueError("a dispatch that does not open with its key") from error
