"""Placeholders in a domain's messages: `[[[name]]]`, filled for one visitor at a time. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\[\[\[([\w.-]+)\]\]\]")


def fill(text: str, fields: Mapping[str, str | None]) -> str:
    """Names in any case; a null value is nothing; an unknown placeholder stays as it is."""
    values = {name.casefold(): value for name, value in fields.items()}

    def value_of(found: re.Match[str]) -> str:
        name = found[1].casefold()
        return (values[name] or "") if name in values else found[0]

    return _PLACEHOLDER.sub(value_of, text)


def missing(text: str, fields: Mapping[str, str | None]) -> list[str]:
    """Names in the text for which there is no field, each once."""
    known = {name.casefold() for name in fields}
    return list(dict.fromkeys(name for name in _PLACEHOLDER.findall(text) if name.casefold() not in known))
