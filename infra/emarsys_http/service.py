"""One service over HTTP: a question with a deadline in, its JSON answer out, or Unavailable with what was wrong.

Whether it is left alone is decided by whether it answers; an answer of another form is its asker's trouble alone.
Who happens to try one that was left alone waits no longer than TRIAL_S, and the trial goes on.
Never retries (whoever asks decides), never follows a redirect, never waits beyond ANSWER_S, and never shows the token
or what was asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from domain.errors import Unavailable
from gateways.http1.client import Http1Transport
from gateways.transport import Answer, NoAnswer, NotSent, Request, Result
from infra.emarsys_http.breaker import Breaker
from infra.flights import Flights
from processes.directories import Unreadable

ANSWER_S: Final = 3.0
"""From the question to the whole answer. Devices give up after 10 s or so, and what asks for them needs time too."""
TRIAL_S: Final = 0.25
"""What the call that tries a service which was left alone waits for it: one that is back answers by then, and of one
that hangs the caller is told as all others are. The trial itself goes on.
"""
ANSWER_BYTES_MAX: Final = 1_048_576
"""An app's settings have as much as fits into an event: a thousand geofences alone have some 300 kB."""
IN_FLIGHT_MAX: Final = 64
WAITING_MAX: Final = 1_000
"""Questions under way and waiting for their turn; beyond that the service is far too slow, and is said to be away."""


class Absent(msgspec.Struct, frozen=True):
    """The service has no such thing: 404 or 410."""


class Denied(msgspec.Struct, frozen=True):
    """The service understood and will not: 400, 409 or 422. Asking again changes nothing."""

    status: int


_OUTCOMES: Mapping[object, str] = {Absent: "absent", Denied: "denied", bytes: "unreadable"}


class Service:
    """name: for people, in errors. url: what paths are appended to. token: a bearer token, "" for none.

    outcomes: how calls have ended; "unreadable": with an answer of another form than was agreed; "refused": not made,
    since it is left alone or too many wait. waited_s: for all of them together.
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
        self.outcomes = dict.fromkeys(("answered", "absent", "denied", "unreadable", "failed", "refused"), 0)
        self.waited_s = 0.0
        self.breaker = Breaker(name, now_s=now_s)
        self._http = Http1Transport(
            url,
            ca_file=ca_file,
            constants=constants,
            in_flight_max=IN_FLIGHT_MAX,
            body_bytes_max=ANSWER_BYTES_MAX,
        )
        self._waiting, self._answer_s = 0, answer_s
        self._trials: Flights[int, Any] = Flights()

    async def aclose(self) -> None:
        await self._trials.aclose()
        await self._http.aclose()

    async def get[T](self, path: str, type: type[T]) -> T | Absent | Denied:
        """Raises Unavailable; Unreadable for an answer of another form."""
        return await self._ask("GET", path, b"", type)

    async def post[T](self, path: str, body: Any, type: type[T]) -> T | Absent | Denied:
        """Raises Unavailable, or Unreadable for an answer of another form; then the service may have acted."""
        return await self._ask("POST", path, msgspec.json.encode(body), type)

    async def _ask[T](self, method: str, path: str, body: bytes, type: type[T]) -> T | Absent | Denied:
        question = hash((method, path, body))
        if not self.breaker.is_trial(question):
            return await self._call(method, path, body, type, question)
        try:
            async with asyncio.timeout(TRIAL_S):
                trial = self._trials.share(question, lambda: self._call(method, path, body, type, question))
                found: T | Absent | Denied = await trial
                return found
        except TimeoutError:
            raise Unavailable(f"{self.name} failed again and again; it is being tried") from None

    async def _call[T](
        self, method: str, path: str, body: bytes, type: type[T], question: int
    ) -> T | Absent | Denied:
        outcome = "refused"
        try:
            if self._waiting >= WAITING_MAX:
                raise Unavailable(f"{self.name} is too slow for what is asked of it")
            with self.breaker.call(question):
                outcome = "failed"
                answer = await self._exchange(method, path.encode("ascii"), body)
            outcome = _OUTCOMES[answer.__class__]
            # The service is there, whatever it says: one answer that is wrong must not cost the others.
            found = self._decoded(answer, type) if isinstance(answer, bytes) else answer
            outcome = _OUTCOMES.get(found.__class__, "answered")
            return found
        finally:
            self.outcomes[outcome] += 1

    async def _exchange(self, method: str, path: bytes, body: bytes) -> bytes | Absent | Denied:
        began_s = time.monotonic()
        self._waiting += 1
        try:
            return self._read(await self._send(method, path, body))
        finally:
            self._waiting -= 1
            self.waited_s += time.monotonic() - began_s

    async def _send(self, method: str, path: bytes, body: bytes) -> Result:
        if method == "GET":
            results = await self._http.get_many([path], deadline_s=self._answer_s)
        else:
            results = await self._http.post_many([Request(path, body)], deadline_s=self._answer_s)
        return results[0]

    def _read(self, result: Result) -> bytes | Absent | Denied:
        match result:
            case NotSent() | NoAnswer():
                raise Unavailable(f"{self.name} does not answer ({result.code})")
            case Answer(complete=False) if len(result.body) <= ANSWER_BYTES_MAX:
                raise Unavailable(f"{self.name} broke its answer off")
            case Answer(status=200 | 201):
                return result.body
            case Answer(status=404 | 410):
                return Absent()
            case Answer(status=400 | 409 | 422 as status):
                return Denied(status)
            case Answer(status=401 | 403 as status):
                raise Unavailable(f"{self.name} refuses our token ({status}): see its *_TOKEN setting")
            case Answer(status=status):
                raise Unavailable(f"{self.name} answered {status}")

    def _decoded[T](self, body: bytes, type: type[T]) -> T:
        if len(body) > ANSWER_BYTES_MAX:
            raise Unreadable(f"{self.name} answered more than {ANSWER_BYTES_MAX:,} bytes")
        try:
            return msgspec.json.decode(body, type=type)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Unreadable(f"{self.name} answered something else than was agreed: {error}") from error
