"""The log of interactions: which calls a client has made, and how each ended. Never slows a call down."""

from __future__ import annotations

from typing import Any

from api.route import Call
from domain.signal import Interaction

FAILURE = 400
"""The first status that is one."""


def note_failure(call: Call[Any, Any], status: int, took_s: float) -> None:
    """api.route.Noted, for calls that are a signal themselves when they succeed."""
    if status >= FAILURE:
        note(call, status, took_s)


def note(call: Call[Any, Any], status: int, took_s: float) -> None:
    """api.route.Noted. A call that nobody can be held to is in the metrics alone."""
    visitor = call.visitor
    client = call.client or visitor.client
    if client is None:
        return
    call.parts.signals.note(
        visitor.app.realm,
        client,
        visitor.app.code,
        Interaction(
            at=call.parts.clock(),
            call=call.route,
            status=status,
            took_ms=round(took_s * 1000),
            correlation=call.context.correlation,
        ),
    )
