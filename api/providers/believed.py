"""Whose reports are believed: what each provider signs with, and what it has told us already.

Owns no request. The secrets never show in a repr.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

SEEN_MAX = 50_000
"""Reports remembered; a provider repeats one within minutes. Beyond that a repeat is another record, and no harm."""


class Seen:
    """Reports whose effects are stored, by what tells them apart."""

    def __init__(self, limit: int = SEEN_MAX) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._limit = limit

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def add(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._known[key] = None
        while len(self._known) > self._limit:
            self._known.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """public_url: how the provider reaches us, since its signature covers the address. "": it is not configured."""

    public_url: str = ""
    twilio_auth_token: str = field(default="", repr=False)
    sendgrid_key: str = ""
    seen: Seen = field(default_factory=Seen, repr=False)
