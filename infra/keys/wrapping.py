"""Wrapping of keys by a master key: AES-256-GCM, bound to the key's name. Pure but for the nonce.

A wrapped key is 1 byte of version, 8 bytes that name the master key, nonce (12), ciphertext, tag.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
VERSION = b"\x01"
DESTROYED = b"\x00destroyed"
"""Stands where a key was: its name is never given to another."""

_NAME_BYTES, _NONCE_BYTES = 8, 12


class WrongMasterKey(Exception):
    """A key was wrapped by a master key that is not among those given."""


class MasterKeys:
    """The master key that wraps, and former ones that still unwrap, while keys are being rotated."""

    def __init__(self, current: bytes, former: Sequence[bytes] = ()) -> None:
        if any(len(key) != KEY_BYTES for key in (current, *former)):
            raise ValueError(f"a master key is {KEY_BYTES} bytes")
        self._current = _name(current)
        self._by_name = {_name(key): AESGCM(key) for key in (*former, current)}

    def wrap(self, key: bytes, name: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._by_name[self._current]
        return VERSION + self._current + nonce + cipher.encrypt(nonce, key, name.encode())

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Raises WrongMasterKey."""
        start = len(VERSION) + _NAME_BYTES
        cipher = self._by_name.get(wrapped[len(VERSION) : start])
        if cipher is None or not wrapped.startswith(VERSION):
            raise WrongMasterKey(f"the key {name} was wrapped by another master key")
        nonce, sealed = wrapped[start : start + _NONCE_BYTES], wrapped[start + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, sealed, name.encode())
        except InvalidTag:
            raise WrongMasterKey(f"the key {name} is damaged or belongs to another name") from None

    def is_current(self, wrapped: bytes) -> bool:
        return wrapped[len(VERSION) : len(VERSION) + _NAME_BYTES] == self._current


def _name(master: bytes) -> bytes:
    return sha256(b"msgxc master key" + master).digest()[:_NAME_BYTES]
