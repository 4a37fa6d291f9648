"""One request's way: token, rate, body, handler, answer. A raw ASGI application per path, since it is the hot path.

Knows nothing of any contract. Every failure leaves as a problem; unexpected ones are left to the frame.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.auth import Identity
from api.access.limits import LimitExceeded
from api.freshness import RecentWrites
from api.http.body import BodyReader, ClientGone, body_wait_s
from api.http.fields import assert_clear
from api.http.heads import BY_NAME, HEAD
from api.http.lane import cycle_of
from api.http.problem import (
    MEDIA_TYPE,
    NAME_SHOWN_MAX,
    MethodNotAllowed,
    decoding_error,
    headers_of,
    problem_of,
)
from api.parts import Parts
from api.route import Answer, Call, Dialect, Header, Raw, Route, assert_may_call
from domain.context import Caller, Context
from domain.errors import Invalid, MsgxcError
from domain.text.nearest import nearest

REQUEST_ID, ROUTE, STATUS = "msgxc.request_id", "msgxc.route", "msgxc.status"
HEADERS, ADDED = BY_NAME, "msgxc.added_headers"
"""Scope keys between the frame and the endpoints. HEADERS: the request's, by name. ADDED: for every answer."""

_NOBODY = Identity(Caller(uid=""), math.inf, "")
BODILESS = frozenset({204, 304})
"""Their answers have no content, and say nothing about it (RFC 9110, section 8.6)."""
_JSON_TYPE = (b"content-type", b"application/json")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_encode = msgspec.json.Encoder().encode


class PathEndpoint:
    """All methods of one path. dialect: of the refusals of all others."""

    def __init__(
        self,
        routes: Sequence[Route],
        parts: Parts,
        recent_writes: RecentWrites,
        *,
        dialect: Dialect | None = None,
    ) -> None:
        self._dialect = dialect
        self._endpoints = {route.method: Endpoint(route, parts, recent_writes) for route in routes}
        if "GET" in self._endpoints:
            self._endpoints.setdefault("HEAD", self._endpoints["GET"])

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is not None:
            return endpoint(scope, receive, send)
        if scope["method"] == "OPTIONS":
            return respond(scope, send, 204, [(b"allow", ", ".join(self.allowed()).encode())], b"")
        return refuse_in(self._dialect, scope, send, MethodNotAllowed(self.allowed()))

    def of(self, method: str) -> ASGIApp:
        """What answers requests with this method."""
        return self._endpoints.get(method, self)

    def allowed(self) -> list[str]:
        return sorted({*self._endpoints, "OPTIONS"})


class Endpoint:
    """One route."""

    def __init__(self, route: Route, parts: Parts, recent_writes: RecentWrites) -> None:
        self._route, self._parts, self._recent_writes = route, parts, recent_writes
        self._decode = _decoder(route)
        self._limit, self._verifier = parts.rate_limit(), parts.verifier
        wait_s = body_wait_s(max(route.body_bytes_max, route.raw_bytes_max))
        self._body = BodyReader(wait_s=wait_s, passes_over=route.body_passed_over)
        self._is_open = route.is_open
        self._has_more = bool(route.raw_bytes_max or route.reads)
        self._has_body = route.body is not None or route.raw_bytes_max > 0
        self._name = f"{route.method} {route.path}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route
        scope[ROUTE] = route.path
        headers: list[Header] = []
        call: Call[Any, Any] | None = None
        began_s = time.perf_counter() if route.noted is not None else 0.0
        try:
            if route.admit is not None:
                identity = await route.admit(self._parts, scope)
            else:
                identity = _NOBODY if self._is_open else self._verifier.of_head(scope[HEAD])
            if identity.key:
                headers = self._limit.take(identity.key)
            assert_may_call(route.who, identity.caller)
            # Before anything else of it is read: a call of somebody known is noted however that ends.
            call = self._call(scope, identity)
            if identity.refusal is not None:
                raise identity.refusal
            if scope["query_string"] or route.query is not None:
                call.query = self._query(scope["query_string"])
            if self._decode is not None:
                content = self._body.at_once(scope[HEADERS], receive, route.body_bytes_max)
                if content is None:
                    content = await self._body.read(scope[HEADERS], receive, bytes_max=route.body_bytes_max)
                call.body, call.content = self._decode(content), content
            if self._has_more or identity.then is not None:
                await self._prepare(call, identity, scope, receive)
            answer = await route.handler(call)
            if route.method != "GET":
                self._recent_writes.note(answer.realm or identity.caller.realm)
        except ClientGone:
            return
        except LimitExceeded as error:
            await refuse(scope, send, error, error.fields)
        except MsgxcError as error:
            await refuse_in(route.dialect, scope, send, error, headers)
        else:
            await _respond_with(scope, send, answer, headers)
        if route.noted is not None and call is not None:
            route.noted(call, scope[STATUS], time.perf_counter() - began_s)

    async def _prepare(
        self, call: Call[Any, Any], identity: Identity, scope: Scope, receive: Receive
    ) -> None:
        """What few calls need before they are handled."""
        route = self._route
        if route.raw_bytes_max:
            call.raw = await self._raw(scope, receive)
        if identity.then is not None:
            # Not before: a call that cannot be read changes nothing.
            await identity.then(call)
        if route.reads:
            await self._recent_writes.seen(identity.caller.realm, route.reads)

    def _call(self, scope: Scope, identity: Identity) -> Call[Any, Any]:
        route, caller = self._route, identity.caller
        if scope[HEAD].is_odd:
            assert_clear(scope[HEAD], has_body=self._has_body)
        given = scope[HEADERS].get(b"idempotency-key")
        return Call(
            parts=self._parts,
            caller=caller,
            context=context_of(scope, caller),
            path=scope.get("path_params", {}),
            query=None,
            body=None,
            route=self._name,
            idempotency_key=idempotency_key(given) if route.idempotent and given is not None else "",
            visitor=identity.visitor,
        )

    def _query(self, query: bytes) -> Any:
        route = self._route
        if route.query is not None:
            return (decode_query if route.dialect is None else route.dialect.query)(route.query, query)
        if route.is_exact:
            decode_query(NoQuery, query)
        return None

    async def _raw(self, scope: Scope, receive: Receive) -> Raw:
        content = await self._body.read(scope[HEADERS], receive, bytes_max=self._route.raw_bytes_max)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope[HEADERS].items()}
        return Raw(content, headers, scope["query_string"].decode("latin-1"))


def _decoder(route: Route) -> Callable[[bytes], Any] | None:
    """What reads the route's bodies; None: it takes none, and looks at none."""
    if route.body is None:
        return _assert_empty if route.refuses_body else None
    if route.dialect is not None:
        return partial(route.dialect.body, route.body)
    return partial(decode_body, msgspec.json.Decoder(route.body))


def context_of(scope: Scope, caller: Caller) -> Context:
    return Context(caller.realm, caller.uid, correlation=scope[REQUEST_ID])


def decode_body(decoder: msgspec.json.Decoder[Any], content: bytes) -> Any:
    """Raises Invalid, naming the field."""
    try:
        return decoder.decode(content or b"{}")
    except msgspec.DecodeError as error:
        raise decoding_error(error, kind=decoder.type) from None
    except (UnicodeDecodeError, RecursionError):
        raise Invalid("the body is not JSON in UTF-8 of a sensible depth", field="body") from None


def _assert_empty(content: bytes) -> None:
    """An empty object passes, which some clients send with every call. Raises Invalid."""
    if content.strip() not in (b"", b"{}"):
        raise Invalid("this call takes no body: the address alone says what is meant", field="body")


class NoQuery(msgspec.Struct, frozen=True):
    """Of what takes no parameters."""


def decode_query[Q: msgspec.Struct](type: type[Q], query: bytes, *, is_exact: bool = True) -> Q:
    """Query parameters as a struct. Raises Invalid, naming the parameter.

    is_exact: those that there are not are refused, and those said twice; else the former are passed over, and of the
    latter the last counts.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=50)
        given = dict(pairs)
        if is_exact:
            _assert_known(pairs, type.__struct_encode_fields__)
        return msgspec.convert(given, type, strict=False)
    except msgspec.ValidationError as error:
        raise decoding_error(error, of="query", kind=type) from None
    except ValueError:
        raise Invalid("the query cannot be read; percent-encode it", field="query") from None


def _assert_known(pairs: list[tuple[str, str]], names: tuple[str, ...]) -> None:
    """Raises Invalid unless each has a name of these, and one of its own."""
    said = set()
    for name, _ in pairs:
        if name not in names:
            raise Invalid(f"there is no such parameter: {nearest(name, names)}", field=name[:NAME_SHOWN_MAX])
        if name in said:
            raise Invalid(f"{name} is there twice", field=name)
        said.add(name)


def idempotency_key(value: bytes) -> str:
    """What an Idempotency-Key says. Raises Invalid for one that cannot be."""
    key = value.decode("latin-1").strip('"')
    if not _KEY.fullmatch(key):
        raise Invalid("use 1 to 255 visible ASCII characters", field="Idempotency-Key")
    return key


async def refuse_in(
    dialect: Dialect | None, scope: Scope, send: Send, error: MsgxcError, headers: Iterable[Header] = ()
) -> None:
    """Answer as the dialect words it; None, or one that does not: with a problem."""
    said = dialect.refusal(error) if dialect is not None else None
    if said is None:
        await refuse(scope, send, error, headers)
    else:
        await _respond_with(scope, send, said, [*headers, *without(said.headers, headers_of(error))])


def _respond_with(scope: Scope, send: Send, answer: Answer, headers: list[Header]) -> Awaitable[None]:
    if answer.headers:
        headers.extend(answer.headers)
        scope[ADDED] = without(answer.headers, scope[ADDED])
    if answer.status in BODILESS:
        content = b""
    elif isinstance(answer.value, bytes):
        content = answer.value
        headers.append((b"content-type", answer.media_type.encode()))
    else:
        content = _encode(answer.value)
        headers.append(_JSON_TYPE)
    if answer.location is not None:
        headers.append((b"location", answer.location.encode()))
    return respond(scope, send, answer.status, headers, content)


async def answer_other_than_get(scope: Scope, send: Send) -> None:
    """What a raw application says that serves GET alone, for there is no end to it that HEAD could tell."""
    methods = ("GET", "OPTIONS")
    if scope["method"] == "OPTIONS":
        await respond(scope, send, 204, [(b"allow", ", ".join(methods).encode())], b"")
    else:
        await refuse(scope, send, MethodNotAllowed(methods))


async def refuse(scope: Scope, send: Send, error: MsgxcError, headers: Iterable[Header] = ()) -> None:
    """Answer with a problem."""
    problem = problem_of(error, instance=scope["path"], request_id=scope.get(REQUEST_ID, ""))
    extra = [*headers, *headers_of(error), (b"content-type", MEDIA_TYPE)]
    if error.status in (408, 413):
        # The rest of the body is not read: the connection cannot be used again.
        extra.append((b"connection", b"close"))
    await respond(scope, send, error.status, extra, _encode(problem))


async def respond(scope: Scope, send: Send, status: int, headers: list[Header], content: bytes) -> None:
    """Answer, with what the frame adds to every answer; an answer to HEAD leaves the content out."""
    scope[STATUS] = status
    if status not in BODILESS:
        headers.append((b"content-length", b"%d" % len(content)))
    headers.extend(scope[ADDED])
    if scope["method"] == "HEAD":
        content = b""
    cycle = cycle_of(send)
    if cycle is None or not cycle.answer(status, headers, content):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def without(own: Iterable[Header], added: Iterable[Header]) -> list[Header]:
    """What is added, but for fields that the answer has already."""
    names = [name for name, _ in own]  # Hot path: of which there are one or two
    return [header for header in added if header[0] not in names]
