"""The desk every request passes: judged by its provider, matched with a rule, booked, and only then answered.

Owns that order. What was acknowledged is in the books, whatever is killed next. Knows neither HTTP nor any provider.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, assert_never
from urllib.parse import unquote

import msgspec

from infra.sandbox.books import Books, Entry, Received
from infra.sandbox.rules import GoAway, Hang, Proceed, Refuse, Reset, Respond, Rule, Rules

INQUIRY_TIMEOUT_S = 10.0
"""A look into the books takes milliseconds; after this the disk is gone."""

INQUIRIES_MAX = 1_000
"""Look-ups under way; more than any gateway asks for at once."""


class Request(msgspec.Struct, frozen=True):
    """One HTTP request. path: with its query, as sent. headers: lower-case names, doubled ones joined.

    body_bytes: how many came; more than len(body) when over the provider's limit.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    body_bytes: int
    received_at: float

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer. piece_bytes: send the body in pieces of this size, 0: as it is."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    piece_bytes: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What a provider thinks of a request.

    entries: the messages in it, one per address, booked with the answer's status. addresses: what rules match.
    inquiry: the answer has to be looked up; nothing is booked then. unbooked: no message at all (a token request).
    dry_run: checked and booked, but nobody gets it.
    """

    answer: Answer
    entries: tuple[Entry, ...] = ()
    addresses: tuple[str, ...] = ()
    inquiry: Callable[[], Awaitable[Answer]] | None = None
    unbooked: bool = False
    dry_run: bool = False


class Provider(Protocol):
    """One provider's rules. `judge` neither blocks nor awaits; it never raises for what a client sent."""

    name: str
    names: tuple[str, ...]
    """What rules may call it: its channel and its own name."""
    body_bytes_max: int
    """More is counted but not kept."""

    def judge(self, request: Request) -> Verdict: ...

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        """The provider's own error body for a status and reason. address: whom the request was to, which some echo."""
        ...


class Line(Protocol):
    """The way back to one waiting client. Each method ends the request; all are silent if the client has gone."""

    def answer(self, answer: Answer) -> None: ...

    def hang(self) -> None: ...

    def reset(self, error: str, *, connection: bool) -> None: ...

    def refuse(self) -> None: ...

    def bar(self, *, processed: bool) -> None:
        """Take no later request of this connection. processed: this one still counts as taken."""
        ...

    def go_away(self, *, error: str, linger_s: float) -> None:
        """Say what `bar` settled, and close."""
        ...


class Desk:
    """Shared by all providers; closed before the books are."""

    def __init__(self, books: Books, rules: Rules, *, clock: Callable[[], float] = time.time) -> None:
        self.books, self.rules, self.clock = books, rules, clock
        self._inquiries: set[asyncio.Task[None]] = set()
        self._open = True

    def receive(self, provider: Provider, request: Request, line: Line) -> None:
        """Take one request; the line is used once it is booked."""
        verdict = provider.judge(request)
        rule = self.rules.take(provider.names, verdict.addresses)
        if rule and rule.delay_s:
            asyncio.get_running_loop().call_later(
                rule.delay_s, self._settle, provider, request, verdict, rule, line
            )
        else:
            self._settle(provider, request, verdict, rule, line)

    async def aclose(self) -> None:
        """Requests still held by a rule are dropped: their connections are gone."""
        self._open = False
        for task in self._inquiries:
            task.cancel()
        await asyncio.gather(*self._inquiries, return_exceptions=True)

    def _settle(
        self, provider: Provider, request: Request, verdict: Verdict, rule: Rule | None, line: Line
    ) -> None:
        if not self._open:
            return
        if rule:
            verdict, action = _overruled(provider, verdict, rule)
        else:
            action = None
        if isinstance(action, GoAway):
            line.bar(processed=action.processed)
        if verdict.inquiry and (action is None or isinstance(action, Proceed)):
            self._inquire(verdict.inquiry, line)
        elif verdict.unbooked:
            _act(action, verdict.answer, line)
        else:
            self._book(provider, request, verdict, action, line)

    def _book(
        self,
        provider: Provider,
        request: Request,
        verdict: Verdict,
        action: _Fault | None,
        line: Line,
    ) -> None:
        processed = not verdict.dry_run and _is_processed(action, verdict.answer)
        received = Received(
            provider=provider.name,
            method=request.method,
            target=request.target,
            headers=request.headers,
            payload=request.body,
            received_at=request.received_at,
            status=None if action else verdict.answer.status,
            fault=type(action).__name__.lower() if action else "",
        )

        def booked(error: OSError | None) -> None:
            if error:
                line.answer(provider.refusal(500, "InternalServerError"))
            else:
                _act(action, verdict.answer, line)

        self.books.append(received, verdict.entries, arrived=processed, then=booked)

    def _inquire(self, inquiry: Callable[[], Awaitable[Answer]], line: Line) -> None:
        if len(self._inquiries) >= INQUIRIES_MAX:
            line.answer(Answer(503))
            return

        async def look() -> None:
            async with asyncio.timeout(INQUIRY_TIMEOUT_S):
                line.answer(await inquiry())

        task = asyncio.get_running_loop().create_task(look())
        self._inquiries.add(task)
        task.add_done_callback(partial(self._inquired, line))

    def _inquired(self, line: Line, task: asyncio.Task[None]) -> None:
        self._inquiries.discard(task)
        if not task.cancelled() and task.exception():
            line.answer(Answer(503))


_Fault = Hang | Reset | Refuse | GoAway


def _overruled(provider: Provider, verdict: Verdict, rule: Rule) -> tuple[Verdict, _Fault | None]:
    """The verdict a rule makes of the provider's, and what to do instead of answering."""
    match rule.action:
        case Respond() as told:
            address = next(iter(verdict.addresses), "")
            answer = (
                provider.refusal(told.status, told.reason, address) if told.status >= 300 else verdict.answer
            )
            headers = {**dict(answer.headers), **{k.lower(): v for k, v in told.headers.items()}}
            body = answer.body if told.body is None else told.body.encode()
            answer = Answer(told.status, body, tuple(headers.items()), told.piece_bytes)
            return msgspec.structs.replace(verdict, answer=answer, inquiry=None), None
        case Proceed(piece_bytes):
            answer = msgspec.structs.replace(verdict.answer, piece_bytes=piece_bytes)
            return msgspec.structs.replace(verdict, answer=answer), None
        case Hang() | Reset() | Refuse() | GoAway() as fault:
            return verdict, fault
    assert_never(rule.action)


def _is_processed(action: _Fault | None, answer: Answer) -> bool:
    """Whether a person would have got the message."""
    accepted = 200 <= answer.status < 300
    match action:
        case None:
            return accepted
        case Hang(processed) | Reset(processed) | GoAway(processed):
            return accepted and processed
        case Refuse():
            return False
    assert_never(action)


def _act(action: _Fault | None, answer: Answer, line: Line) -> None:
    match action:
        case None:
            line.answer(answer)
        case Hang():
            line.hang()
        case Reset(_, connection, error):
            line.reset(error, connection=connection)
        case Refuse():
            line.refuse()
        case GoAway(_, linger_s, error):
            line.go_away(error=error, linger_s=linger_s)
        case _:
            assert_never(action)
