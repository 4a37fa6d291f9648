"""Cursors of paged answers: opaque to the caller, signed, and bound to what was asked and to the log.

A cursor is a place to go on from, not a right: the query checks rights anew each time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

import msgspec

from domain.errors import Invalid
from domain.ids import Ids

VERSION = 1
LENGTH_MAX = 2_048
"""Characters; the longest of ours has about 300."""
SIGNATURE = 16
"""Hex digits: a forger would need 2^63 tries to reach a query's own decoder."""

_WRONG = "this is not a cursor of this page; leave it out to start anew"


class Page[T](msgspec.Struct, frozen=True):
    """One page. next: pass it as `cursor` for what follows, null at the end."""

    items: list[T]
    next: str | None = None


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    version: int
    query: str
    epoch: str
    place: Any


def give(ids: Ids, query: str, place: Any, *, epoch: str = "") -> str:
    """query: what is paged, realm included; the cursor fits nothing else. place: any JSON value."""
    raw = msgspec.json.encode(_Cursor(VERSION, query, epoch, place))
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return f"{text}.{_signature(ids, text)}"


def take[T](ids: Ids, text: str, query: str, type: type[T], *, epoch: str = "", field: str = "cursor") -> T:
    """Where to go on. Raises Invalid for a cursor that is not ours, or of another query or log."""
    body, _, signature = text.rpartition(".")
    if len(text) > LENGTH_MAX or not hmac.compare_digest(signature.encode(), _signature(ids, body).encode()):
        raise Invalid(_WRONG, field=field)
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        cursor = msgspec.json.decode(raw, type=_Cursor)
        place = msgspec.convert(cursor.place, type)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Invalid(_WRONG, field=field) from None
    if (cursor.version, cursor.query) != (VERSION, query):
        raise Invalid(_WRONG, field=field)
    if cursor.epoch != epoch:
        raise Invalid("this cursor belongs to another log; leave it out to start anew", field=field)
    return place


def _signature(ids: Ids, text: str) -> str:
    return ids.derive("", "cursor", text).hex[-SIGNATURE:]
