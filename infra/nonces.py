"""Fresh randomness for ids of requests, and of what they create, taken from the system for many at a time.

Never for secrets: those are asked for one by one, and nothing of them waits in memory.
"""

from __future__ import annotations

import os

NONCE_BYTES = 16
"""128 bits: two processes never make the same id."""
NONCES = 256
"""Taken at a time: 12 kB, and the system is asked a dozen times a second by a busy process."""


class Nonces:
    """128 random bits as 32 hex digits, others with each call."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        # Hot path: with every command; asking the system for each costs a microsecond more.
        if not self._left:
            digits = os.urandom(NONCE_BYTES * NONCES).hex()
            size = 2 * NONCE_BYTES
            self._left = [digits[start : start + size] for start in range(0, len(digits), size)]
        return self._left.pop()
