"""Ids are HMAC-SHA256, whatever way it is computed: the log's subjects depend on it for ever."""

import hmac
from uuid import UUID

import pytest

from domain.ids import Ids


@pytest.mark.parametrize("length", [32, 63, 64, 65, 200])
def test_an_id_is_the_standard_librarys_hmac(length: int) -> None:
    """For keys below, at and above the hash's block."""
    key = bytes(range(length))
    raw = bytearray(hmac.digest(key, b"main|contact|ann", "sha256")[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    assert Ids(key).contact("main", "ann") == UUID(bytes=bytes(raw))
