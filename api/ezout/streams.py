"""A shop live, for its merchant: server-sent events and web sockets over the same readers.

Both resume by the id of the last message they were given, send a beat when nothing happens, and end when the token
does. Owns their wire; what is shown, and in which order, is the hub's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from starlette.types import Receive, Scope, Send

from api.access.limits import RateLimit
from api.endpoint import ROUTE, answer_other_than_get, decode_query
from api.event_stream import MEDIA_TYPE, RETRY_MS, begin, close_event, last_event_id, refuse_stream
from api.ezout.door import credentials
from api.ezout.frames import FIRST, Filter, Frame, position_within
from api.ezout.hub import Draining, Following, ShopHub, TooSlow
from api.ezout.parts import Shops
from api.ezout.publishing import GROUP, shop_of, shops_of
from api.http.hanging_up import hang_up
from api.http.peers import while_there
from api.parts import Parts
from api.route import Route, Who, served_raw
from api.sockets.protocol import EXTENSION as CONNECTION
from api.sockets.protocol import SocketConnection
from domain.errors import Forbidden, Invalid, MsgxcError, TooMany, Unauthenticated, Unavailable
from domain.shop import assert_may_read

EVENTS_PATH, SOCKET_PATH = "/shops/{shop_id}/stream", "/shops/{shop_id}/socket"
CLOSED_BY = {
    "slow": 4008,
    "token": 4401,
    "forbidden": 4403,
    "invalid": 4422,
    "unavailable": 1013,
    "away": 1001,
}
"""Close codes: the private range beside the HTTP status it stands for, or RFC 6455's own."""


class StreamQuery(Filter, frozen=True, kw_only=True):
    """after: the id of the last message that was seen; `first`: from the beginning; nothing: from now on."""

    after: Annotated[str, Meta(max_length=2_048)] = ""
    access_token: Annotated[
        str, Meta(description="The token, where no header can be set: EventSource and WebSocket in browsers.")
    ] = ""

    @property
    def start(self) -> str:
        """The id to go on after."""
        return self.after


class EventsQuery(StreamQuery, frozen=True, kw_only=True):
    """lastEventId: where polyfills of EventSource write what browsers put into the header."""

    lastEventId: Annotated[str, Meta(max_length=2_048)] = ""  # noqa: N815  theirs

    @property
    def start(self) -> str:
        return self.lastEventId or self.after


class Ended(Exception):
    """The stream is over; why is one of CLOSED_BY."""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why, self.reason = why, reason


class Watch:
    """One stream, admitted: who watches what from where. Raises MsgxcError for what may not be watched."""

    def __init__(
        self, shops: Shops, shop: UUID, filter: Filter, after: int, who: tuple[str | None, str]
    ) -> None:
        self._shops, self._shop, self._filter, self._who = shops, shop, filter, who
        self.after, self.pace = after, shops.pace
        self.give = shops.hub.stream_ids(shop).give

    @classmethod
    async def admitted(cls, shops: Shops, scope: Scope, query: StreamQuery, limit: RateLimit) -> Watch:
        who = credentials(scope, in_query=True)
        identity = await shops.door.admit(*who)
        if identity.key:
            limit.take(identity.key)
        shop = shop_of(scope["path_params"])
        assert_may_read(identity.caller, shop)
        shops.hub.assert_room()
        after = await _after(shops.hub, shop, last_event_id(scope) or query.start)
        return cls(shops, shop, query, after, who)

    async def run(
        self, show: Callable[[Sequence[Frame]], Awaitable[None]], beat: Callable[[int], Awaitable[None]]
    ) -> None:
        """Show messages until the stream ends, which raises Ended; `beat` gets the position to resume from."""
        loop = asyncio.get_running_loop()
        said_s = checked_s = loop.time()

        async def write(frames: Sequence[Frame]) -> None:
            nonlocal said_s
            shown = [frame for frame in frames if self._filter.shows(frame)]
            if shown:
                said_s = loop.time()
                await self.in_time(show(shown))

        async def tick() -> None:
            nonlocal said_s, checked_s
            if loop.time() - checked_s >= self.pace.tick_s:
                checked_s = loop.time()
                await self._assert_still_admitted()
            if loop.time() - said_s >= self.pace.beat_s:
                said_s = loop.time()
                await self.in_time(beat(following.position))

        following = Following(self._shops.hub, self._shop, self.after, write, tick)
        try:
            await following.run(tick_s=self.pace.tick_s)
        except TooSlow:
            raise Ended("slow", "too slow; come back with the last id") from None
        except Draining:
            raise Ended("away", "shutting down; connect again") from None
        except Unavailable as error:
            raise Ended("unavailable", error.detail) from None

    async def in_time(self, sending: Awaitable[None]) -> None:
        """Raises TooSlow when the peer does not take it."""
        try:
            async with asyncio.timeout(self.pace.send_s_max):
                await sending
        except TimeoutError:
            raise TooSlow from None

    async def _assert_still_admitted(self) -> None:
        try:
            identity = await self._shops.door.admit(*self._who)
            assert_may_read(identity.caller, self._shop)
        except Unauthenticated as error:
            raise Ended("token", error.detail) from None
        except Forbidden as error:
            raise Ended("forbidden", error.detail) from None


async def _after(hub: ShopHub, shop: UUID, given: str) -> int:
    """Where a stream begins."""
    head = await hub.log.head()
    if not given:
        return head
    return position_within(hub.stream_ids(shop).take(given, field="after"), head, field="after")


class EventsEndpoint:
    """Server-sent events; one call is one stream."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._limit = parts, parts.rate_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = EVENTS_PATH
        if scope["method"] != "GET":
            await answer_other_than_get(scope, send)
            return
        try:
            query = decode_query(EventsQuery, scope["query_string"])
            watch = await Watch.admitted(shops_of(self._parts), scope, query, self._limit)
        except MsgxcError as error:
            await refuse_stream(scope, send, error, self._parts.metrics)
            return
        with self._parts.metrics.sockets.labels("shop-events").track_inprogress():
            await self._serve(watch, scope, receive, send)

    async def _serve(self, watch: Watch, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def show(frames: Sequence[Frame]) -> None:
            await write(b"".join([frame.event for frame in frames]))

        async def beat(position: int) -> None:
            # An id without data: the browser keeps it and shows nothing.
            await write(f"id: {watch.give(position)}\n:\n\n".encode())

        await begin(send)
        opened = f"retry: {RETRY_MS}\nid: {watch.give(watch.after)}\nevent: open\ndata: {{}}\n\n"
        await write(opened.encode())
        try:
            async with while_there(receive, "http.disconnect"):
                await watch.run(show, beat)
        except Ended as ended:
            self._parts.metrics.cut_off.labels(ended.why).inc()
            try:
                await watch.in_time(write(close_event(CLOSED_BY[ended.why], ended.reason)))
                await watch.in_time(send({"type": "http.response.body", "body": b""}))
            except TooSlow:
                # What waits for it may never leave, and would be kept for as long as the peer likes.
                await hang_up(scope)


class SocketEndpoint:
    """Web sockets; what a client sends is passed over."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._limit = parts, parts.rate_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            query = decode_query(StreamQuery, scope["query_string"])
            watch = await Watch.admitted(shops_of(self._parts), scope, query, self._limit)
        except MsgxcError as error:
            # Accepted first: browsers do not show the status of a refused handshake, but the close code.
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": _close_code(error), "reason": error.detail[:100]})
            return
        with self._parts.metrics.sockets.labels("shop-socket").track_inprogress():
            await self._serve(watch, scope, receive, send)

    async def _serve(self, watch: Watch, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        async def show(frames: Sequence[Frame]) -> None:
            for frame in frames:
                await write(frame.text)

        async def beat(position: int) -> None:
            await write(f'{{"type":"beat","id":"{watch.give(position)}"}}')

        await send({"type": "websocket.accept"})
        await write(f'{{"type":"open","id":"{watch.give(watch.after)}"}}')
        try:
            async with while_there(receive, "websocket.disconnect"):
                await watch.run(show, beat)
        except Ended as ended:
            self._parts.metrics.cut_off.labels(ended.why).inc()
            code, reason = CLOSED_BY[ended.why], ended.reason[:100]
            connection: SocketConnection | None = scope.get("extensions", {}).get(CONNECTION)
            if connection is not None:
                connection.close(code, reason)  # and drops a peer that does not take it
            else:
                await watch.in_time(send({"type": "websocket.close", "code": code, "reason": reason}))


def _close_code(error: MsgxcError) -> int:
    match error:
        case Unauthenticated():
            return CLOSED_BY["token"]
        case Forbidden():
            return CLOSED_BY["forbidden"]
        case Unavailable() | TooMany():
            return CLOSED_BY["unavailable"]
        case _:
            return CLOSED_BY["invalid"]


ROUTE_OF_EVENTS = Route(
    method="GET",
    path=EVENTS_PATH,
    handler=served_raw,
    who=Who.SHOP,
    query=EventsQuery,
    answer=str,
    media_type=MEDIA_TYPE,
    summary=f"A shop live, as server-sent events; Last-Event-ID (or after, or after={FIRST}) brings what was missed.",
    group=GROUP,
    errors=(Invalid, Forbidden, Unavailable),
)
ROUTE_OF_SOCKET = replace(
    ROUTE_OF_EVENTS,
    path=SOCKET_PATH,
    query=StreamQuery,
    media_type="application/json",
    summary="A shop live, as a web socket with the same content; after brings what was missed.",
)
