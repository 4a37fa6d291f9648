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
from uuid import UUID

import msgspec

SID_CHARS_MAX = 512
"""A realm's and a channel's name at their longest are well within."""

_INFO = b"msgxc sid v1"
_VERSION = 1
_CODE_BYTES = 16
"""128 bits: what the half of an HMAC-SHA256 is good for (RFC 2104, section 5)."""
_ID_BYTES = 16
_OF_CLIENT, _OF_CONTACT = 1, 2


class Sid(msgspec.Struct, frozen=True):
    """A delivery: one message's on one channel to a client of a contact, to a client of nobody in particular, or to a
    contact's own address.
    """

    realm: str
    message: UUID
    channel: str
    client: UUID | None = None
    contact: UUID | None = None


def sid_key(id_key: bytes) -> bytes:
    """The key of sids, from the one that never rotates."""
    return labelled_key(id_key, _INFO)


@lru_cache(8)
def labelled_key(id_key: bytes, label: bytes) -> bytes:
    """A key for one purpose, from the one that never rotates: HKDF-SHA256 with a label of its own (RFC 5869)."""
    extracted = hmac.digest(b"\0" * 32, id_key, sha256)
    return hmac.digest(extracted, label + b"\x01", sha256)


def sid_of(
    key: bytes,
    realm: str,
    message: UUID,
    *,
    channel: str,
    client: UUID | None = None,
    contact: UUID | None = None,
) -> str:
    """The sid of one delivery, some 110 characters that stand in URLs as they are. key: from `sid_key`.

    client, contact: as the dispatch's recipient has them; one of them at least.
    """
    if client is None and contact is None:
        raise ValueError("a delivery goes to somebody")
    name = channel.encode("ascii")
    kind = (_OF_CLIENT if client is not None else 0) | (_OF_CONTACT if contact is not None else 0)
    ids = b"".join(each.bytes for each in (message, client, contact) if each is not None)
    content = bytes((_VERSION, kind, len(name))) + ids + name + realm.encode()
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
    if not content or not hmac.compare_digest(code, _code(key, content)):
        return None
    return _parsed(content)


def _parsed(content: bytes) -> Sid | None:
    """What we have written ourselves, as the code says."""
    version, kind, name_bytes = content[:3]
    if version != _VERSION:
        return None
    ids = [content[3:]]
    for _ in range(1 + kind.bit_count()):
        rest = ids.pop()
        ids += [rest[:_ID_BYTES], rest[_ID_BYTES:]]
    rest = ids.pop()
    named = [UUID(bytes=each) for each in ids]
    message = named.pop(0)
    client = named.pop(0) if kind & _OF_CLIENT else None
    contact = named.pop(0) if kind & _OF_CONTACT else None
    channel, realm = rest[:name_bytes].decode("ascii"), rest[name_bytes:].decode()
    return Sid(realm, message, channel, client=client, contact=contact)


def _code(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, sha256)[:_CODE_BYTES]
