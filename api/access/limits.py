"""Limits on what one caller may ask: calls per token, bytes per body. Each over-run says when or how to do better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from api.port import RateCounter
from domain.errors import TooLarge, TooMany

BODY_BYTES_MAX = 256 * 1024
"""More than any message's channels can carry; a multicast's 10,000 uids of 20 characters fit."""
KEYS_MAX = 100_000
"""Tokens counted at a time in one process; about 10 MB."""

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `quota` calls per token in each window of `window_s` seconds."""

    counter: RateCounter
    now_s: Callable[[], float]
    quota: int = 6_000
    window_s: int = 60

    def take(self, key: str) -> list[Header]:
        """The RateLimit fields for the answer (IETF httpapi-ratelimit-headers), once half the quota is used.

        Raises LimitExceeded.
        """
        now_s = int(self.now_s())
        count = self.counter.add(key, now_s // self.window_s)
        if count * 2 <= self.quota:
            return []
        reset_s = self.window_s - now_s % self.window_s
        fields = self._fields(max(0, self.quota - count), reset_s)
        if count > self.quota:
            raise LimitExceeded(self, fields, reset_s=reset_s)
        return fields

    def _fields(self, left: int, reset_s: int) -> list[Header]:
        return [
            (b"ratelimit-policy", b'"token";q=%d;w=%d' % (self.quota, self.window_s)),
            (b"ratelimit", b'"token";r=%d;t=%d' % (left, reset_s)),
        ]


class LimitExceeded(TooMany):
    """Over the rate; `fields` say so in the answer's header."""

    def __init__(self, limit: RateLimit, fields: list[Header], *, reset_s: int) -> None:
        super().__init__(
            f"this token may call {limit.quota:,} times in {limit.window_s} s; try again in {reset_s} s",
            retry_after_s=reset_s,
        )
        self.fields = fields


class LocalCounter:
    """A RateCounter for one process. Keeps the current window alone, and at most KEYS_MAX of its keys."""

    def __init__(self) -> None:
        self._window = 0
        self._counts: dict[str, int] = {}

    def add(self, key: str, window: int) -> int:
        if window != self._window:
            self._window, self._counts = window, {}
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= KEYS_MAX:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = count
        return count


def assert_body_fits(size: int, bytes_max: int = BODY_BYTES_MAX) -> None:
    """Raises TooLarge."""
    if size > bytes_max:
        raise TooLarge(f"a body has at most {bytes_max:,} bytes", field="body")
