"""One service over HTTP: a question with a deadline in, its JSON answer out, or Unavailable with what was wrong.

Never retries (whoever asks decides), never follows a redirect, never waits beyond ANSWER_S, and never shows the token
or what was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from domain.errors import Unavailable
from gateways.http1.client import Http1Transport
from gateways.transport import Answer, NoAnswer, NotSent, Request, Result
from infra.emarsys_http.breaker import Breaker

ANSWER_S: Final = 3.0
"""From the question to the whole answer. Devices give up after 10 s or so, and what asks for them needs time too."""
IN_FLIGHT_MAX: Final = 64
WAITING_MAX: Final = 1_000
"""Questions under way and waiting for their turn; beyond that the service is far too slow, and is said to be away."""


class Absent(msgspec.Struct, frozen=True):
    """The service has no such thing: 404 or 410."""


class Denied(msgspec.Struct, frozen=True):
    """The service understood and will not: 400, 409 or 422. Asking again changes nothing."""

    status: int


_OUTCOMES: Mapping[object, str] = {Absent: "absent", Denied: "denied"}


class Service:
    """name: for people, in errors. url: what paths are appended to. token: a bearer token, "" for none.

    outcomes: how calls have ended; "refused": not made, since it is left alone or too many wait. waited_s: for all of
    them together.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        label: str = "",
        token: str = "",
        ca_file: str | None = None,
        answer_s: float = ANSWER_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        constants = [(b"accept", b"application/json"), (b"content-type", b"application/json")]
        if token:
            constants.append((b"authorization", f"Bearer {token}".encode()))
        self.name, self.label = name, label or name
        self.outcomes = dict.fromkeys(("answered", "absent", "denied", "failed", "refused"), 0)
        self.waited_s = 0.0
        self.breaker = Breaker(name, now_s=now_s)
        self._http = Http1Transport(url, ca_file=ca_file, constants=constants, in_flight_max=IN_FLIGHT_MAX)
        self._waiting, self._answer_s = 0, answer_s

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get[T](self, path: str, type: type[T]) -> T | Absent | Denied:
        """Raises Unavailable."""
        return await self._ask("GET", path, b"", type)

    async def post[T](self, path: str, body: Any, type: type[T]) -> T | Absent | Denied:
        """Raises Unavailable; then the service may have acted."""
        return await self._ask("POST", path, msgspec.json.encode(body), type)

    async def _ask[T](self, method: str, path: str, body: bytes, type: type[T]) -> T | Absent | Denied:
        outcome = "refused"
        try:
            if self._waiting >= WAITING_MAX:
                raise Unavailable(f"{self.name} is too slow for what is asked of it")
            with self.breaker.call():
                outcome = "failed"
                answer = await self._exchange(method, path.encode("ascii"), body, type)
            outcome = _OUTCOMES.get(answer.__class__, "answered")
            return answer
        finally:
            self.outcomes[outcome] += 1

    async def _exchange[T](self, method: str, path: bytes, body: bytes, type: type[T]) -> T | Absent | Denied:
        began_s = time.monotonic()
        self._waiting += 1
        try:
            return self._read(await self._send(method, path, body), type)
        finally:
            self._waiting -= 1
            self.waited_s += time.monotonic() - began_s

    async def _send(self, method: str, path: bytes, body: bytes) -> Result:
        if method == "GET":
            results = await self._http.get_many([path], deadline_s=self._answer_s)
        else:
            results = await self._http.post_many([Request(path, body)], deadline_s=self._answer_s)
        return results[0]

    def _read[T](self, result: Result, type: type[T]) -> T | Absent | Denied:
        match result:
            case NotSent() | NoAnswer():
                raise Unavailable(f"{self.name} does not answer ({result.code})")
            case Answer(complete=False):
                raise Unavailable(f"{self.name} broke its answer off")
            case Answer(status=200 | 201):
                return self._decoded(result.body, type)
            case Answer(status=404 | 410):
                return Absent()
            case Answer(status=400 | 409 | 422 as status):
                return Denied(status)
            case Answer(status=401 | 403 as status):
                raise Unavailable(f"{self.name} refuses our token ({status}): see its *_TOKEN setting")
            case Answer(status=status):
                raise Unavailable(f"{self.name} answered {status}")

    def _decoded[T](self, body: bytes, type: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Unavailable(f"{self.name} answered something else than was agreed") from error
