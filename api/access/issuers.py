"""Keys of somebody else who issues tokens, as this process knows them.

Keys are kept for the time that the issuer says, and asked for anew when a token names an unknown one, though not more
often than the cooldown allows. Owns that; never looks at a token, and knows no issuer by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from api.access.keys import BadKeys, Key, KeySet, usable_keys
from domain.errors import Unavailable

COOLDOWN_S = 60.0
"""Between two looks for an unknown key: made-up key ids must not become requests to the issuer."""
RETRY_S = 5.0
"""Between two tries while the issuer does not answer."""
KEEP_S_MAX = 86_400.0
"""A longer max-age than a day is cut: a key that was withdrawn must not live on."""
GRACE_S = 3_600.0
"""Keys serve this much longer when the issuer does not answer; then tokens are not accepted any more."""

log = structlog.get_logger("msgxc.api")


class IssuerKeys(Protocol):
    async def fetch(self) -> tuple[bytes, float]:
        """The issuer's JWKS, and for how many seconds it may be kept. Errors: domain.errors.Unavailable."""
        ...


class CachedKeys:
    """The issuer's keys as this process knows them. One fetch at a time, whoever asks."""

    def __init__(self, source: IssuerKeys, *, now_s: Callable[[], float]) -> None:
        self._source, self._now_s = source, now_s
        self._lock = asyncio.Lock()
        self._fresh_until_s = self._not_before_s = 0.0
        self.keys = KeySet()

    async def find(self, kid: str, algorithm: str = "RS256") -> Key | None:
        """The key of that id, None when the issuer has none. Raises Unavailable when it cannot be asked."""
        if self._now_s() >= self._fresh_until_s:
            await self._renew(lambda: self._now_s() < self._fresh_until_s)
        found = self.keys.find(algorithm, kid)
        if found is None and self._now_s() >= self._not_before_s:
            await self._renew(lambda: self.keys.find(algorithm, kid) is not None)
            found = self.keys.find(algorithm, kid)
        return found

    async def _renew(self, is_done: Callable[[], bool]) -> None:
        async with self._lock:
            if is_done():
                return
            if self._now_s() >= self._not_before_s:
                await self._fetch()
            if self._now_s() >= self._fresh_until_s + GRACE_S:
                raise Unavailable("the issuer of these tokens does not answer; try again soon")

    async def _fetch(self) -> None:
        try:
            body, max_age_s = await self._source.fetch()
            keys, faults = usable_keys(msgspec.json.decode(body), source="the issuer")
        except (Unavailable, BadKeys, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._not_before_s = self._now_s() + RETRY_S
            log.warning("issuer_keys_not_fetched", reason=str(error))
            return
        if keys != self.keys:
            self.keys = keys
            if faults:
                log.warning("issuer_keys_passed_over", number=len(faults), first=faults[0])
        self._fresh_until_s = self._now_s() + min(max_age_s, KEEP_S_MAX)
        self._not_before_s = self._now_s() + COOLDOWN_S
