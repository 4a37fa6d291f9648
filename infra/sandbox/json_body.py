"""What a request's JSON says, whoever wrote it: the providers' own checks find fault with what is missing.

Never raises: a body that is no JSON, and a part that is no object, have nothing in them.
"""

from __future__ import annotations

from typing import Any

import msgspec


def decoded(body: bytes) -> dict[str, Any]:
    try:
        return mapping(msgspec.json.decode(body))
    except msgspec.DecodeError:
        return {}


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
