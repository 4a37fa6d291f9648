"""What the sandbox says when it cannot or will not: a problem (RFC 9457), as everywhere in the exchange."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    said = {
        "type": "about:blank",
        "title": "The sandbox cannot do this",
        "status": status,
        "detail": detail,
    }
    return Response(msgspec.json.encode(said), status, headers, media_type=MEDIA_TYPE)
