"""What a mail carries so that its reader leaves with one click: a word that names the contact, and is ours.

In the form of a sid, under a key of its own: what a push carries does not unsubscribe anybody. It holds as long as the
id key does, which is for ever: a mail from years ago still lets its reader leave. Pure.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from domain.deliveries.channel import EMAIL
from domain.notifications.sid import labelled_key, read_sid, sid_of

_INFO = b"msgxc leave v1"

CODE = "unsubscribe"
"""Why the channel is suppressed, as SendGrid names the same thing."""


class Leaver(NamedTuple):
    """Who leaves, because of which message."""

    realm: str
    message: UUID
    contact: UUID


def leaving_key(id_key: bytes) -> bytes:
    return labelled_key(id_key, _INFO)


def leaving_token(key: bytes, leaver: Leaver) -> str:
    return sid_of(key, leaver.realm, leaver.message, channel=EMAIL, contact=leaver.contact)


def read_leaving_token(key: bytes, token: str) -> Leaver | None:
    """None for what is none of ours."""
    sid = read_sid(key, token)
    return None if sid is None or sid.contact is None else Leaver(sid.realm, sid.message, sid.contact)
