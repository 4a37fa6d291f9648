"""The feed by server-sent events, `GET /api/v2/stream`: all one is subscribed to, in order, from Last-Event-ID on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from api.access.auth import bearer
from api.endpoint import ROUTE, answer_other_than_get, context_of, decode_query
from api.event_stream import MEDIA_TYPE, RETRY_MS, begin, close_event, last_event_id, refuse_stream
from api.freshness import RecentWrites
from api.http.fields import assert_clear
from api.http.hanging_up import hang_up
from api.http.heads import head_of
from api.http.peers import while_there
from api.msgxc.reading import thread_for
from api.parts import Parts
from api.route import Call, Route, Who, served_raw
from api.sockets.hub import TRY_AGAIN, Closed
from api.sockets.live import Live
from api.sockets.protocol import CLOSE_S_MAX
from api.sockets.session import Session, Wanted, own_threads
from api.sockets.wire import Encoding
from domain.errors import Forbidden, Invalid, MsgxcError, NotFound, Unavailable

PATH = "/api/v2/stream"
BUFFER_BYTES_MAX = 256 * 1024
"""Unsent bytes of one stream before it counts as full, as for sockets."""
BEAT_S = 15.0
"""A comment as often: proxies drop silent streams, and a dead peer shows when it is written to."""
TIDS_MAX = 100


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """tid: threads to follow, divided by commas; all that one is subscribed to if it is left out.

    lastEventId: where polyfills of EventSource write what browsers put into the header, so that no preflight is needed.
    """

    tid: Annotated[str, Meta(max_length=13_000)] = ""
    position: str = ""
    lastEventId: str = ""  # noqa: N815  theirs


class StreamConnection:
    """What the hub writes, until the server has sent it on."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.is_closed = False
        self.closed = asyncio.Event()
        self.on_full: Callable[[], None] | None = None

    @property
    def is_full(self) -> bool:
        return not self._room.is_set()

    def write(self, data: bytes) -> None:
        if self.is_closed or not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > BUFFER_BYTES_MAX:
            self._room.clear()
            if self.on_full is not None:
                self.on_full()

    async def drained(self) -> None:
        await self._room.wait()

    def close(self, code: int, reason: str) -> None:
        if not self.is_closed:
            self.write(close_event(code, reason))
            self.is_closed = True
            self.closed.set()
            self._ready.set()
            self._room.set()

    async def next(self) -> bytes:
        """What there is to send; a comment when there was nothing for a while; b"" at the end."""
        if not self._pieces and not self.is_closed:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._ready.wait()
            except TimeoutError:
                return b":\n\n"
        self._ready.clear()
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def sent(self, data: bytes) -> None:
        """The server has taken it."""
        self._size = max(0, self._size - len(data))
        if self._size <= BUFFER_BYTES_MAX // 2:
            self._room.set()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants to follow, checked. after: the position of the last event it got, None: from now on."""

    token: str
    threads: list[Wanted]
    follows_all: bool
    after: int | None


class StreamEndpoint:
    """A raw ASGI application: one call is one stream."""

    def __init__(self, parts: Parts, live: Live, recent: RecentWrites) -> None:
        self._parts, self._live, self._recent = parts, live, recent
        self._limit = parts.rate_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = PATH
        if scope["method"] != "GET":
            await answer_other_than_get(scope, send)
            return
        try:
            assert_clear(head_of(scope), has_body=False)
            self._live.assert_room()
            wish = await self._wish(scope)
        except MsgxcError as error:
            await refuse_stream(scope, send, error, self._parts.metrics)
            return
        await self._serve(wish, scope, receive, send)

    async def _wish(self, scope: Scope) -> Wish:
        """Raises MsgxcError for what cannot be followed by this caller."""
        token = bearer(scope["headers"])
        identity = self._parts.verifier.verify(token)
        self._limit.take(identity.key)
        query = decode_query(StreamQuery, scope["query_string"])
        call: Call[None, None] = Call(
            self._parts, identity.caller, context_of(scope, identity.caller), {}, None, None
        )
        await self._recent.seen(identity.caller.realm, ("threads",))
        wanted = await _wanted(call, query.tid)
        given = last_event_id(scope) or query.lastEventId or query.position
        after = (await self._live.hub.positions()).take(given) if given else None
        await self._live.hub.assert_reached(after)
        return Wish(token, wanted, not query.tid, after)

    async def _serve(self, wish: Wish, scope: Scope, receive: Receive, send: Send) -> None:
        connection = StreamConnection()

        def tell(event: str, tid: str) -> None:
            connection.write(_notice(event, tid, self._live.hub.place(session.follower)))

        session = Session(
            self._parts,
            self._live.hub,
            connection,
            Encoding.STREAM,
            follows_all=wish.follows_all,
            on_revoked=partial(tell, "unsubscribed"),
            on_restored=partial(tell, "subscribed"),
        )
        session.follower.on_incomplete = lambda: connection.write(b"event: incomplete\ndata: {}\n\n")
        connection.on_full = lambda: self._live.hub.fell_behind(session.follower)
        async with (
            self._live.admitted(session, "stream"),
            while_there(receive, "http.disconnect"),
            asyncio.TaskGroup() as group,
        ):
            helpers = [
                group.create_task(self._begin(wish, session, connection)),
                group.create_task(_drop_when_closed(connection, scope)),
            ]
            await _pump(connection, send)
            for helper in helpers:
                helper.cancel()

    async def _begin(self, wish: Wish, session: Session, connection: StreamConnection) -> None:
        """Follow; runs beside the pump, since what was missed may be more than the buffer holds."""
        try:
            positions = await self._live.hub.positions()

            def greet(head: int) -> None:
                # An id at once, so that a stream without a message yet can be resumed too.
                start = positions.give(head if wish.after is None else wish.after)
                connection.write(f"retry: {RETRY_MS}\nid: {start}\nevent: open\ndata: {{}}\n\n".encode())

            await session.begin(wish.token, wish.threads, after=wish.after, greet=greet)
        except Closed:
            return
        except MsgxcError as error:
            session.end(TRY_AGAIN, error.code)


async def _pump(connection: StreamConnection, send: Send) -> None:
    """Send on what the hub writes, until the connection is closed."""
    await begin(send)
    while data := await connection.next():
        await send({"type": "http.response.body", "body": data, "more_body": True})
        connection.sent(data)
    await send({"type": "http.response.body", "body": b""})


async def _drop_when_closed(connection: StreamConnection, scope: Scope) -> None:
    """Hang up on a peer that does not take our close in time: nothing of what waits for it would ever leave."""
    await connection.closed.wait()
    await asyncio.sleep(CLOSE_S_MAX)
    await hang_up(scope)


async def _wanted(call: Call[Any, Any], text: str) -> list[Wanted]:
    """The threads to follow. Raises NotFound or Forbidden for one that the caller is not subscribed to."""
    if not text:
        return await own_threads(call.parts, call.caller)
    tids = list(dict.fromkeys(text.split(",")))
    if len(tids) > TIDS_MAX:
        raise Invalid(f"name at most {TIDS_MAX} threads", field="tid")
    found = []
    for tid in tids:
        seen = await thread_for(call, tid)
        if not seen.subscribed:
            raise Forbidden(f"subscribe to {tid!r} first", field="tid")
        found.append(Wanted(tid, seen.row["thread"], seen.granted))
    return found


def _notice(event: str, tid: str, place: str) -> bytes:
    said = msgspec.json.encode({"slug": f"/thread/{tid}", "action": event, "ok": True})
    return f"id: {place}\nevent: {event}\n".encode() + b"data: " + said + b"\n\n"


ROUTE_OF_STREAM = Route(
    method="GET",
    path=PATH,
    handler=served_raw,
    who=Who.TOKEN,
    query=StreamQuery,
    answer=str,
    media_type=MEDIA_TYPE,
    summary="One's feed as server-sent events; Last-Event-ID (or position) brings what was missed.",
    group="live",
    errors=(Invalid, Forbidden, NotFound, Unavailable),
)
