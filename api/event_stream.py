"""Server-sent events (WHATWG HTML, section 9.2): what all our streams of them say alike.

Owns what a reader that comes back says, the head of the answer, the event that ends a stream, and how one that cannot
begin now is put off. Knows nothing of what is streamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from starlette.types import Scope, Send

from api.about.metrics import Metrics
from api.endpoint import refuse
from api.http.heads import head_of
from api.route import Header
from api.sockets.hub import TRY_AGAIN
from domain.errors import MsgxcError, TooMany, Unavailable

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1_000
"""How soon a browser comes back, as the original's clients did."""
PUT_OFF_MS: Final = 3_000
"""And where nothing can be shown now."""


async def begin(send: Send) -> None:
    headers: list[Header] = [
        (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def last_event_id(scope: Scope) -> str:
    """Where a browser goes on by itself (section 9.2.4); "" where it does not."""
    given: Iterable[Header] = scope["headers"]
    return next((value.decode("latin-1") for name, value in given if name == b"last-event-id"), "")


def close_event(code: int, reason: str) -> bytes:
    """The last event of a stream."""
    return b"event: close\ndata: " + msgspec.json.encode({"code": code, "reason": reason}) + b"\n\n"


async def refuse_stream(scope: Scope, send: Send, error: MsgxcError, metrics: Metrics) -> None:
    """Answer with a problem; but an EventSource, which gives up for good at an error's status (section 9.2.3), is told
    to come back where that may help.
    """
    passes = isinstance(error, Unavailable | TooMany)
    if not passes or MEDIA_TYPE.encode() not in head_of(scope).by_name.get(b"accept", b""):
        await refuse(scope, send, error)
        return
    metrics.cut_off.labels(error.code).inc()
    wait_ms = error.retry_after_s * 1_000 if isinstance(error, TooMany) else PUT_OFF_MS
    await begin(send)
    said = f"retry: {wait_ms}\n".encode() + close_event(TRY_AGAIN, error.detail)
    await send({"type": "http.response.body", "body": said})
