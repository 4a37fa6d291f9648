"""What is nested deeper than JSON decoders go, cut out of a request before they read it.

An item of a list that the request has at its top is cut alone; else the whole value that stands there. Its beginning is
left in its place, as a text. Knows nothing of what requests mean, and leaves it to the decoders whether they are JSON.
"""

from __future__ import annotations

import json
import re

from domain.text.nesting import DEPTH_MAX

TOO_DEEP = "nested too deep"
BEGINNING_BYTES = 1_024
"""Of what was cut out, that is left."""
RUNS_MAX = 100_000
"""Runs of brackets that are looked at, a tenth of a second's work; the largest honest request has a third of them."""

_MARK = f'"{TOO_DEEP}: '.encode()
_RUN = re.compile(rb'(?:[^\[\]{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))*+([\[{]+|[\]}]+|\Z)', re.DOTALL)
"""The next brackets outside of texts. Matches wherever it begins, so that nothing is ever looked at twice."""
_TOP, _LISTED = 1, 2
"""How many brackets are open around a value of the request, and around an item of a list that is one."""


def without_depths(content: bytes) -> bytes:
    """The same, without what is nested too deep. Raises ValueError for more brackets than any request has."""
    kept: list[bytes] = []
    depth = done = start = 0
    level, is_deep = _TOP, False
    for number, run in enumerate(_RUN.finditer(content)):
        if number > RUNS_MAX:
            raise ValueError("too many brackets")
        first, end = run.span(1)
        size = end - first
        if content[first : first + 1] in (b"[", b"{"):
            if depth <= _TOP < depth + size:
                # What begins here is a value of the request; in a list, its items are what may be cut.
                level = _LISTED if content[first + _TOP - depth] == ord("[") else _TOP
            if depth <= level < depth + size:
                start = first + level - depth
            depth += size
            is_deep |= depth > DEPTH_MAX
        else:
            if is_deep and depth - size <= level:
                closed = first + depth - level
                kept += [content[done:start], _beginning(content[start:closed])]
                done, is_deep = closed, False
            depth -= size
    return b"".join((*kept, content[done:]))


def beginning_of(value: bytes) -> str | None:
    """What is left of a value that was cut; None for any other."""
    if not value.startswith(_MARK):
        return None
    text: str = json.loads(value)
    return text[len(_MARK) - 1 :]


def _beginning(cut: bytes) -> bytes:
    text = cut[:BEGINNING_BYTES].decode("utf-8", "replace")
    return json.dumps(f"{TOO_DEEP}: {text}").encode()
