"""The log of interactions: which calls a client has made, and how each ended. Never slows a call down.

Refusals are in it too. Whoever is refused before they have proved anything is in the metrics alone: such calls are
anybody's noise, and under a client that somebody else only named they would tell lies.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from api.emarsys.device_events.batches import Batch
from api.route import Call
from domain.devices.signal import Interaction

FAILURE = 400
"""The first status that is one."""

Reason = Literal["contact-erased", "contact-disabled", "anonymous-unwanted"]
"""Why nobody wants what a device tells."""


class Dropped(msgspec.Struct, frozen=True):
    """A call that was answered as a success, though nothing that it told was kept."""

    reason: Reason
    items: int


class OfContact(msgspec.Struct, frozen=True):
    """Whose call it was, where there is no app and no client."""

    contact: UUID


def drop(call: Call[Any, Any], reason: Reason, *, items: int) -> None:
    """Say that `items` of the call are not kept, so that somebody can tell where they went."""
    call.remark = Dropped(reason, items)


def own(call: Call[Any, Any], contact: UUID) -> None:
    """Say whose call it is, where there is no app."""
    call.remark = OfContact(contact)


def note_untold(call: Call[Batch, Any], status: int, took_s: float) -> None:
    """api.route.Noted, for calls that are a signal themselves when they succeed, unless that was dropped or empty."""
    if status >= FAILURE or isinstance(call.remark, Dropped) or call.body.is_empty:
        note(call, status, took_s)


def note(call: Call[Any, Any], status: int, took_s: float) -> None:
    """api.route.Noted. A call that nobody can be held to is in the metrics alone."""
    visitor = call.visitor
    client = call.client or visitor.proof.client or _former(call)
    if client is None:
        return
    call.parts.signals.note(
        visitor.app.settings.merchant, client, visitor.app.code, _interaction(call, status, took_s)
    )


def _former(call: Call[Any, Any]) -> UUID | None:
    """The client that a device was in another app of the merchant, which it comes from; until it has arrived."""
    former = call.visitor.proof.former
    if former is None:
        return None
    app = call.parts.apps.known(former.app)
    return former.client if app is not None and app.realm == call.visitor.app.realm else None


def note_appless(call: Call[Any, Any], status: int, took_s: float) -> None:
    """api.route.Noted, where there is no app: under the merchant's id, once it is known whose call it is."""
    if not isinstance(call.remark, OfContact):
        return
    realm: str = call.visitor.realm
    call.parts.signals.note(realm, call.parts.ids.merchant(realm), "", _interaction(call, status, took_s))


def _interaction(call: Call[Any, Any], status: int, took_s: float) -> Interaction:
    remark: Dropped | OfContact | None = call.remark
    # Hot path: with every call of a device, of which few have a remark.
    plain = Interaction(
        at=call.parts.clock(),
        call=call.route,
        status=status,
        took_ms=round(took_s * 1000),
        correlation=call.context.correlation,
    )
    if isinstance(remark, Dropped):
        return replace(plain, dropped=remark.reason, items=remark.items)
    return plain if remark is None else replace(plain, contact=remark.contact)
