"""The network between a replayed SDK and a service, with its misfortunes; a clock that nobody waits for.

Every exchange of an SDK goes through a `Wire`, which keeps it. It never retries: that is each SDK's own rule.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_S = 30.0
"""As Android's (core/request/RequestTask.kt)."""


class NetworkFailure(Exception):
    """No answer arrived. Whether the request did, the SDK can't know."""


class Clock:
    """Time as the device sees it: it passes only when something waits. meanwhile: what happens while it does."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.waits_s: list[float] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_ms += int(seconds * 1000)
        if self.meanwhile is not None:
            await self.meanwhile()

    def tick(self) -> int:
        """The time now, and a millisecond passes, so that no two moments are the same."""
        self.now_ms += 1
        return self.now_ms


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or None where it is none: as forgiving as the native SDKs' parsers."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Call:
    """One request and what came of it. status None: no answer arrived."""

    method: str
    target: str
    """Path with query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    status: int | None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(slots=True)
class Wire:
    """`online` False: nothing gets through. Lost answers and broken connections are planned one by one."""

    http: httpx.AsyncClient
    online: bool = True
    calls: list[Call] = field(default_factory=list)
    _losses: deque[Callable[[str, str], bool]] = field(default_factory=deque)

    def lose_answer(self, method: str, ending: str) -> None:
        """The service gets the next such request, but its answer is lost. ending: of the target."""
        self._losses.append(lambda sent, target: sent == method and target.endswith(ending))

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: Any = None) -> Answer:
        """Without a body where `body` is None. Raises NetworkFailure."""
        status: int | None = None
        try:
            if not self.online:
                raise NetworkFailure("offline")
            answer = await self._over(method, target, headers, body)
            if self._is_lost(method, target):
                raise NetworkFailure("the answer was lost")
            status = answer.status
            return answer
        finally:
            lower = {name.lower(): value for name, value in headers.items()}
            self.calls.append(Call(method, target, lower, body, status))

    async def _over(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> Answer:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            got = await self.http.request(
                method, target, headers=dict(headers), content=content, timeout=TIMEOUT_S
            )
        except httpx.TransportError as error:
            raise NetworkFailure(str(error)) from error
        return Answer(
            got.status_code, {name.lower(): value for name, value in got.headers.items()}, got.content
        )

    def _is_lost(self, method: str, target: str) -> bool:
        if self._losses and self._losses[0](method, target):
            self._losses.popleft()
            return True
        return False

    def sent(self, method: str, ending: str) -> list[Call]:
        """The calls so far whose path ends so."""
        return [call for call in self.calls if call.method == method and call.path.endswith(ending)]
