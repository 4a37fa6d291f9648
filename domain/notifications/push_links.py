"""The links that a browser calls to say what became of a message: who and which message, sealed so that nobody can
make or read them.

AES-SIV under the key of the month in which the link was made; the month stands before the sealed part. The same
thing gives the same link all month, and a link of a former month opens as long as its key is there. Knows nothing of
addresses or of what a call of the link means.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

MONTH_BYTES = 2
LINK_CHARS_MAX = 512
"""Of one sealed part; ours have about 130."""
MONTHS_MAX = 36
"""How long a link is looked at after it was made; no push message is kept for longer than four weeks."""


class BadLink(ValueError):
    """Not a link of ours."""


class ContactLink(msgspec.Struct, frozen=True, array_like=True):
    """Whom a message was sent to. app: the id of the web domain; both parts of a link must name the same."""

    realm: str
    app: UUID
    channel: str
    client: UUID
    contact: UUID | None


class MessageLink(msgspec.Struct, frozen=True, array_like=True):
    """Which message. campaign: the message whose statistics it counts in."""

    realm: str
    app: UUID
    message: UUID
    campaign: UUID


type LinkPart = ContactLink | MessageLink

_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode


def month_of(at: datetime) -> int:
    """Months since the year 0, the number that a link begins with."""
    return at.year * 12 + at.month - 1


def key_name(month: int) -> str:
    """Of a month's key in the key store."""
    return f"links.{month // 12:04d}-{month % 12 + 1:02d}"


def seal_link(part: LinkPart, key: bytes, month: int) -> str:
    """A part of a link. key: the month's, 32 bytes."""
    prefix = month.to_bytes(MONTH_BYTES, "big")
    sealed = _cipher(key).encrypt(_encode(part), [prefix, _kind(type(part))])
    return urlsafe_b64encode(prefix + sealed).rstrip(b"=").decode()


def month_of_link(text: str) -> int:
    """The month whose key opens it. Raises BadLink."""
    return int.from_bytes(_decoded(text)[:MONTH_BYTES], "big")


def open_link[L: (ContactLink, MessageLink)](text: str, kind: type[L], key: bytes) -> L:
    """Raises BadLink."""
    raw = _decoded(text)
    try:
        plain = _cipher(key).decrypt(raw[MONTH_BYTES:], [raw[:MONTH_BYTES], _kind(kind)])
        return msgspec.msgpack.decode(plain, type=kind)
    except (InvalidTag, msgspec.DecodeError) as error:
        raise BadLink("this link was not made here") from error


def _decoded(text: str) -> bytes:
    if not MONTH_BYTES * 2 < len(text) <= LINK_CHARS_MAX:
        raise BadLink("a link has another length")
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise BadLink("a link is base64url") from error
    if urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise BadLink("a link is base64url, written in one way")
    return raw


def _kind(kind: type[LinkPart]) -> bytes:
    return kind.__name__.encode()


def _cipher(key: bytes) -> AESSIV:
    return AESSIV(hashlib.sha512(b"msgxc push links" + key).digest())
