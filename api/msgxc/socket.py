"""The web socket of the MSGXC contract, `/api/v2/connect/{vid}/{sid}`: JSON frames that name what they want by slug."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from starlette.types import Receive, Scope, Send

from api.access.auth import Identity, bearer
from api.endpoint import REQUEST_ID
from api.freshness import RecentWrites
from api.http.fields import assert_clear
from api.http.heads import head_of
from api.http.problem import MEDIA_TYPE, decoding_error, problem_of
from api.msgxc.receipts import OwnReceipt
from api.parts import Parts
from api.route import Route, Who, served_raw
from api.sockets.follower import Follower
from api.sockets.hub import Closed
from api.sockets.live import Live
from api.sockets.protocol import EXTENSION, SocketConnection
from api.sockets.session import Session, Wanted
from api.sockets.wire import Encoding, reply
from commands.threads import Joined, Subscribe
from domain.context import Context
from domain.errors import Forbidden, Invalid, MsgxcError, NotFound, Unauthenticated, Unavailable

PATH = "/api/v2/connect/{vid}/{sid}"
SUBSCRIBE = "/api/v2/subscribe/thread"
SESSION_AGE_S_MAX = 48 * 3600
"""The original's: older session ids are refused."""
UUID1_EPOCH_S = -12_219_292_800
"""15 October 1582, where the time in a UUIDv1 begins (RFC 9562, section 5.1)."""
BAD_REQUEST = 1008
"""Close code (RFC 6455): what was sent violates our policy."""


class NotImplementedHere(MsgxcError):
    """A frame of the original that is answered so there, too."""

    code, title, status = "not-implemented", "Not implemented", 501


class Named(msgspec.Struct, frozen=True):
    """What names a frame, whatever else is wrong with it."""

    slug: Any = ""


class Inbound(msgspec.Struct, frozen=True):
    """What a client may send; a slug uses what it needs. jwt: identifies the socket, with any frame."""

    slug: str = ""
    jwt: str | None = None
    tid: str | None = None
    position: str | None = None
    mid: UUID | None = None
    kind: str | None = None


_decode = msgspec.json.Decoder(Inbound).decode


class SocketEndpoint:
    """A raw ASGI application: one call is one connection."""

    def __init__(self, parts: Parts, live: Live, recent: RecentWrites) -> None:
        self._parts, self._live, self._recent = parts, live, recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        connection = scope["extensions"].get(EXTENSION)
        assert isinstance(connection, SocketConnection), "serve with api.sockets.protocol.OPTIONS"
        try:
            assert_clear(head_of(scope), has_body=False)
            self._live.assert_room()
            token = _upgrade_token(scope)
            if token:
                self._parts.verifier.verify(token)
        except MsgxcError as error:
            await _refuse(scope, send, error)
            return
        await send({"type": "websocket.accept"})
        try:
            self._assert_ids(scope["path_params"])
        except Invalid as error:
            await self._live.hub.look_at_log()
            place = self._live.hub.place(Follower(connection, Encoding.SOCKET))
            connection.write(error_frame("", error, scope[REQUEST_ID], place))
            connection.close(BAD_REQUEST, error.detail)
            return
        conversation = Conversation(self._parts, self._live, self._recent, connection, scope[REQUEST_ID])
        await self._serve(conversation, receive, token)

    async def _serve(self, conversation: Conversation, receive: Receive, token: str) -> None:
        session = conversation.session
        async with self._live.admitted(session, "socket"):
            if token:
                await conversation.begin(token)
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return
                try:
                    await conversation.hear(message.get("text") or message.get("bytes") or b"")
                except Closed:
                    return

    def _assert_ids(self, path: dict[str, str]) -> None:
        """Raises Invalid unless vid is a UUID, and sid one of version 1 and not too old."""
        try:
            UUID(path["vid"])
        except ValueError:
            raise Invalid("vid is a UUID", field="vid") from None
        try:
            sid = UUID(path["sid"])
        except ValueError:
            raise Invalid("sid is a UUID of version 1", field="sid") from None
        if sid.version != 1:
            raise Invalid("sid is a UUID of version 1", field="sid")
        made_s = sid.time / 1e7 + UUID1_EPOCH_S
        if made_s < self._parts.now_s() - SESSION_AGE_S_MAX:
            raise Invalid("sid is older than 48 hours; make a new one", field="sid")


class Conversation:
    """What is said on one socket."""

    def __init__(
        self, parts: Parts, live: Live, recent: RecentWrites, connection: SocketConnection, id: str
    ) -> None:
        self._parts, self._hub, self._recent = parts, live.hub, recent
        self._connection, self._id = connection, id
        self.session = Session(
            parts,
            live.hub,
            connection,
            Encoding.SOCKET,
            on_revoked=self._tell_revoked,
            on_restored=self._tell_restored,
        )
        follower = self.session.follower
        follower.on_incomplete = self._tell_incomplete
        connection.on_full = lambda: live.hub.fell_behind(follower)
        self._limit = parts.rate_limit()
        self._rate_key = f"socket-{secrets.token_hex(8)}"
        self._said: dict[str, Callable[[Inbound], Awaitable[None]]] = {
            "/ping": self._ping,
            SUBSCRIBE: self._subscribe,
            "/api/v2/resume": self._resume,
            "/api/v2/receipt": self._receipt,
        }

    async def begin(self, token: str) -> None:
        """Who calls, by the upgrade; what is wrong with that is said in a frame. Raises Closed."""
        await self._hub.look_at_log()
        try:
            await self._identify(token)
        except MsgxcError as error:
            self._connection.write(error_frame("", error, self._id, self._place))

    async def _identify(self, token: str) -> None:
        self._rate_key = (await self.session.identify(token)).key

    async def hear(self, text: str | bytes) -> None:
        """Answer one frame; what cannot be done is said in a frame. Raises Closed."""
        slug = ""
        await self._hub.look_at_log()
        try:
            self._limit.take(self._rate_key)
            try:
                frame = _read(text)
            except Invalid:
                slug = _slug_of(text)
                raise
            slug = frame.slug
            if frame.jwt is not None:
                await self._identify(frame.jwt)
            await self._handler(slug)(frame)
        except MsgxcError as error:
            self._connection.write(error_frame(slug, error, self._id, self._place))

    def _handler(self, slug: str) -> Callable[[Inbound], Awaitable[None]]:
        said = self._said.get(slug)
        if said is not None:
            return said
        if slug.startswith(("/api/v2/publish", "/api/v2/unsubscribe", "/api/v2/subscribe/")):
            raise NotImplementedHere("not by a frame; use the REST call of this name")
        raise NotFound(f"no slug {slug!r} here" if slug else "a frame names what it wants by slug")

    async def _ping(self, frame: Inbound) -> None:
        self._say({"slug": frame.slug, "data": "pong"})

    async def _subscribe(self, frame: Inbound) -> None:
        identity, tid = self._identity(), frame.tid
        if not tid:
            raise Invalid("tid is missing", field="tid")
        after = None if frame.position is None else await self._position(frame.position)
        caller = identity.caller
        joined: Joined = await self._parts.bus.execute(
            Subscribe(tid=tid, uid=caller.uid), self._context(identity), caller=caller
        )
        self._recent.note(caller.realm)
        positions = await self._hub.positions()

        def greet(head: int) -> None:
            data = _of_thread(tid, "subscribed")
            self._say({"slug": frame.slug, "data": data, "ok": True, "position": positions.give(head)})

        await self.session.follow(Wanted(tid, joined.thread, joined.granted), after=after, greet=greet)

    async def _resume(self, frame: Inbound) -> None:
        """What was missed comes first, then the answer. A socket that follows no thread yet follows all one's own."""
        identity = self._identity()
        after = await self._position(frame.position)
        if not self.session.threads:
            await self._recent.seen(identity.caller.realm, ("threads",))
            await self.session.follow_own()
        complete = await self._hub.resume(self.session.follower, after)
        self._say({"slug": frame.slug, "data": {"complete": complete}, "ok": True})

    async def _receipt(self, frame: Inbound) -> None:
        receipt = OwnReceipt(mid=frame.mid, kind=frame.kind)
        await receipt.take(self._parts, self._identity().caller)
        self._say({"slug": frame.slug, "mid": frame.mid, "ok": True})

    async def _position(self, text: str | None) -> int:
        return (await self._hub.positions()).take(text)

    def _identity(self) -> Identity:
        identity = self.session.identity
        if identity is None:
            raise Unauthenticated("send jwt with this frame")
        return identity

    def _context(self, identity: Identity) -> Context:
        return Context(realm=identity.caller.realm, actor=identity.caller.uid, correlation=self._id)

    def _tell_revoked(self, tid: str) -> None:
        self._say({"slug": "/api/v2/unsubscribe/thread", "data": _of_thread(tid, "unsubscribed"), "ok": True})

    def _tell_restored(self, tid: str) -> None:
        self._say({"slug": SUBSCRIBE, "data": _of_thread(tid, "subscribed"), "ok": True})

    def _tell_incomplete(self) -> None:
        self._say({"slug": "/api/v2/resume", "data": {"complete": False}, "ok": True})

    @property
    def _place(self) -> str:
        return self._hub.place(self.session.follower)

    def _say(self, value: dict[str, Any]) -> None:
        """With the position that the client would resume from, once there is one."""
        place = self._place
        self._connection.write(reply({"position": place, **value} if place else value))


def _of_thread(tid: str, action: str) -> dict[str, Any]:
    return {"slug": f"/thread/{tid}", "action": action, "ok": True}


def _read(text: str | bytes) -> Inbound:
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.DecodeError):
            raise decoding_error(error, of="frame") from None
        raise Invalid("a frame is JSON in UTF-8 of a sensible depth", field="frame") from None


def _slug_of(text: str | bytes) -> str:
    """Of a frame that cannot be read; "" where it does not say."""
    try:
        slug = msgspec.json.decode(text, type=Named).slug
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return slug if isinstance(slug, str) else ""


def error_frame(slug: str, error: MsgxcError, request_id: str, place: str) -> bytes:
    """In the original's form, `{"error": "404 ..."}`, with the problem and the position beside it."""
    said = {"error": f"{error.status} {error.detail}", "ok": False}
    problem = problem_of(error, request_id=request_id)
    where = {"position": place} if place else {}
    return reply({**where, **({"slug": slug} if slug else {}), **said, "problem": problem})


def _upgrade_token(scope: Scope) -> str:
    """A client that can set headers may identify itself with the upgrade already."""
    if any(name == b"authorization" for name, _ in scope["headers"]):
        return bearer(scope["headers"])
    return ""


async def _refuse(scope: Scope, send: Send, error: MsgxcError) -> None:
    """Answer the upgrade with a problem instead."""
    problem = problem_of(error, instance=scope["path"], request_id=scope[REQUEST_ID])
    headers = [(b"content-type", MEDIA_TYPE), (b"x-request-id", scope[REQUEST_ID].encode())]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": msgspec.json.encode(problem)})


ROUTE_OF_SOCKET = Route(
    method="GET",
    path=PATH,
    handler=served_raw,
    who=Who.TOKEN,
    answer=str,
    summary="The messages of the threads one subscribes to, as JSON frames; every frame may carry the token.",
    group="live",
    errors=(Invalid, Forbidden, NotFound, Unavailable),
)
