"""Send ids: what a push carries, and a device sends back when it is opened, to say which delivery it was.

A sid names the message, whose copy of it this was, and the channel; a code over all of it and the realm, with a key
that only the exchange has, makes it worth something: who knows a message's id cannot make one. It is no secret of
anybody's and holds nothing of a person. Pure: no clock, no store; it is good as long as its message is remembered.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from functools import lru_cache
from hashlib import sha256
from typing import Literal
from uuid import UUID

import msgspec

SID_CHARS_MAX = 512
"""A realm's and a channel's name at their longest are well within."""

_INFO = b"msgxc sid v1"
_VERSION = 1
_CODE_BYTES = 16
"""128 bits: what the half of an HMAC-SHA256 is good for (RFC 2104, section 5)."""
_HEAD_BYTES = 2 + 16 + 16 + 1
_KINDS: tuple[Literal["client", "contact"], ...] = ("client", "contact")


class Sid(msgspec.Struct, frozen=True):
    """A delivery: one message's on one channel to a client, or to a contact's own address."""

    realm: str
    message: UUID
    channel: str
    client: UUID | None = None
    contact: UUID | None = None


@lru_cache(8)
def sid_key(id_key: bytes) -> bytes:
    """The key of sids, from the one that never rotates: HKDF-SHA256 with a label of its own (RFC 5869)."""
    extracted = hmac.digest(b"\0" * 32, id_key, sha256)
    return hmac.digest(extracted, _INFO + b"\x01", sha256)


def sid_of(
    key: bytes,
    realm: str,
    message: UUID,
    *,
    channel: str,
    client: UUID | None = None,
    contact: UUID | None = None,
) -> str:
    """The sid of one delivery, some 90 characters that stand in URLs as they are. key: from `sid_key`.

    Exactly one of client and contact.
    """
    if (client is None) == (contact is None):
        raise ValueError("a delivery goes to a client or to a contact")
    who = client or contact
    assert who is not None
    name = channel.encode("ascii")
    kind = _KINDS.index("client" if client is not None else "contact")
    head = bytes((_VERSION, kind)) + message.bytes + who.bytes + bytes((len(name),))
    content = head + name + realm.encode()
    return base64.urlsafe_b64encode(content + _code(key, content)).rstrip(b"=").decode()


def read_sid(key: bytes, sid: str) -> Sid | None:
    """The delivery that a sid names; None for what is none of ours, whatever it is."""
    if not sid.isascii() or len(sid) > SID_CHARS_MAX:
        return None
    try:
        raw = base64.urlsafe_b64decode(sid + "=" * (-len(sid) % 4))
    except (binascii.Error, ValueError):
        return None
    content, code = raw[:-_CODE_BYTES], raw[-_CODE_BYTES:]
    if len(content) < _HEAD_BYTES or not hmac.compare_digest(code, _code(key, content)):
        return None
    return _parsed(content)


def _parsed(content: bytes) -> Sid | None:
    if content[0] != _VERSION or content[1] >= len(_KINDS):
        return None
    message, who = UUID(bytes=content[2:18]), UUID(bytes=content[18:34])
    end = _HEAD_BYTES + content[34]
    channel, realm = content[_HEAD_BYTES:end].decode("ascii"), content[end:].decode()
    if _KINDS[content[1]] == "client":
        return Sid(realm, message, channel, client=who)
    return Sid(realm, message, channel, contact=who)


def _code(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, sha256)[:_CODE_BYTES]
