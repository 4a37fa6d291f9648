"""JSON as apps write it, made JSON that decoders of ours take. Knows nothing of what it says.

Apps cut texts in the middle of an emoji; browsers write the half that is left as an escape, which is no character. A
device that is refused for it would be refused for ever.
"""

from __future__ import annotations

import json
import math

import msgspec

INTEGER_CHARS_MAX = 300
"""Python reads no integer of more than some thousand digits; a float has at most 309."""


def mended(content: bytes) -> bytes:
    """The same JSON, with a question mark for what is no character. Raises ValueError, RecursionError."""
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = content.decode("utf-8", "surrogateescape")
        # A number that none of ours takes stays as its text, in the one item that has it.
        value = json.loads(text, parse_float=_finite, parse_int=_short, parse_constant=str)
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return content


def _finite(text: str) -> float | str:
    return number if math.isfinite(number := float(text)) else text


def _short(text: str) -> int | str:
    return int(text) if len(text) <= INTEGER_CHARS_MAX else text
