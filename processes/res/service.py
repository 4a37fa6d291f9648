"""Shops for RES gateways: the last updates of a shop as a collection, over a message bus.

Serves the RES service protocol 1.2 (https://resgate.io/docs/specification/res-service-protocol/): get, access, call
and auth requests for `updates.store.<id>`, add and remove events, and system.reset whenever events may have been
lost. Answers and events of one shop must leave in one order, so one process at a time has the lease to give them;
any number stand by, answer calls, and gets while the holder does not (processes.res.standby). Never decides who is
who: `admit` does.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import Meta

from domain.context import Caller, Context
from domain.errors import ClaimMismatch, Invalid, MsgxcError, TooLarge, Unavailable
from domain.recorded import SHOPS, Checkpoint, Recorded
from domain.shop import (
    Addressed,
    ShopMessage,
    Update,
    assert_addressed_to,
    assert_may_read,
    assert_may_write,
    body_of,
    claim_of,
    encode,
    happened,
    topic_of,
)
from processes.models.watermark import Watermark
from processes.port import Lease, Log
from processes.res.port import Admit, Bus, Known, Publish, Reply, Unwatch
from processes.res.rings import LAST, Item, Ring
from processes.res.standby import EVERY, HOLDER, Standby
from projections import shop_queries, shops
from projections.port import ReadModels

RINGS_MAX = 2_000
"""Collections kept in memory, about 50 MiB; the one asked for longest ago is given up, and its gateways are told."""
LOAD_S_MAX = 2.0
"""Under a gateway's own 3 s."""
CONNECTIONS_MAX = 50_000
"""Signed-in connections whose token's end is watched."""
SWEEP_S = 1.0
CALLS = "call.updates.store.*.*"
"""What any process may answer, one each."""
GROUP = "msgxc-res"
WATCHES = ("get.updates.store.*", "access.updates.store.*", "auth.updates.>")
"""What the holder of the lease alone answers: its events build on its answers, and it ends what it has signed in."""
_CID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)

log = structlog.get_logger(__name__)


class _Token(msgspec.Struct):
    jwt: str


class _Request(msgspec.Struct):
    """What gateways send; each kind uses some of it."""

    cid: str = ""
    token: _Token | None = None
    query: str = ""
    params: msgspec.Raw = msgspec.Raw(b"null")
    header: dict[str, list[str]] = {}


class _Keyed(msgspec.Struct):
    """Beside the fields of a call's message: the Idempotency-Key of the HTTP call, since RES calls have no headers."""

    idempotency_key: Annotated[str, Meta(pattern="^[!-~]{0,255}$")] | None = None


class _Login(msgspec.Struct):
    token: str = ""


class Refusal(Exception):
    """A RES error. code: one of the protocol's."""

    def __init__(self, code: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    def encoded(self) -> bytes:
        error = {"code": self.code, "message": self.message}
        return _encode({"error": error | ({"data": self.data} if self.data else {})})


_encode = msgspec.json.Encoder().encode
_decode_request = msgspec.json.Decoder(_Request).decode
_DENIED = Refusal("system.accessDenied", "Access denied")
_NOT_FOUND = Refusal("system.notFound", "Not found")


class ResService:
    """run() serves until cancelled, or until the log is drained. Raises LogMismatch."""

    def __init__(
        self,
        *,
        bus: Bus,
        lease: Lease,
        events: Log,
        models: ReadModels,
        watermark: Watermark,
        admit: Admit,
        publish: Publish,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._lease, self._log = bus, lease, events
        self._models, self._watermark = models, watermark
        self._admit, self._publish, self._now_s = admit, publish, now_s
        self._rings: OrderedDict[UUID, Ring] = OrderedDict()
        self._ends_s: OrderedDict[str, float] = OrderedDict()
        self._reset = asyncio.Event()
        self._standby = Standby(bus, self.handle)
        self.is_serving = False

    async def run(self) -> None:
        unwatch = await self._bus.watch(CALLS, self.handle, group=GROUP)
        try:
            while await self._take_part():
                pass
        finally:
            await unwatch()

    async def _take_part(self) -> bool:
        """Stand by until the lease is ours, and serve until it is lost; False once we are to stop."""
        async with AsyncExitStack() as standing_by:
            await standing_by.enter_async_context(self._standby.watching(WATCHES, group=GROUP))
            if not await self._lease.take():
                return False
            try:
                return not await self._serve(standing_by)
            finally:
                self.is_serving = False
                await self._lease.give_back()

    async def _serve(self, standing_by: AsyncExitStack) -> bool:
        """As the one that holds the lease. True when the log is drained, False when the lease is lost."""
        end = await self._log.end(SHOPS)
        self._rings.clear()
        self._ends_s.clear()
        self.is_serving = True
        forget = self._bus.on_reconnect(self._reset.set)
        unwatches: list[Unwatch] = []
        try:
            # HOLDER first, so that while we do both, who stands by keeps silent. At no moment nobody answers.
            for subject in (HOLDER, *WATCHES):
                unwatches += [await self._bus.watch(subject, self._handle_as_holder)]
            await standing_by.aclose()
            # Whatever the holder before us did not tell is in what gateways now ask for.
            self._reset.set()
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._send_resets()), group.create_task(self._end_tokens())]
                following = group.create_task(self._follow(end))
                keeping = group.create_task(self._lease.keep())
                await asyncio.wait((following, keeping), return_when=asyncio.FIRST_COMPLETED)
                is_drained = following.done()
                for task in (*beside, following, keeping):
                    task.cancel()
        finally:
            forget()
            for unwatch in unwatches:
                await unwatch()
        return is_drained

    async def _follow(self, position: int) -> None:
        start = Checkpoint(SHOPS, position, await self._log.epoch(SHOPS))
        async for facts in self._log.follow(SHOPS, start):
            for fact in facts:
                if isinstance(fact, Recorded) and isinstance(fact.body, Update | Addressed):
                    await self._show(fact, fact.body)

    async def _handle_as_holder(self, subject: str, payload: bytes, reply: Reply) -> None:
        async def reply_if_held(answer: bytes) -> None:
            # We may have been suspended, and another process may be the one whose events build on its answers.
            if self._lease.is_held:
                await reply(answer)

        await self.handle(subject, payload, reply_if_held)

    async def handle(self, subject: str, payload: bytes, reply: Reply) -> None:
        """One request of a gateway."""
        kind, *names = subject.split(".")
        try:
            request = _decode_request(payload or b"{}")
            if kind == "get":
                await self._get(_shop(names), request, reply)
                return
            answer = await self._answer(kind, names, request)
        except Refusal as refusal:
            answer = refusal.encoded()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            answer = Refusal("system.invalidParams", str(error)).encoded()
        except MsgxcError as error:
            answer = _as_refusal(error).encoded()
        await reply(answer)

    async def _answer(self, kind: str, names: list[str], request: _Request) -> bytes:
        match kind:
            case "access":
                return await self._access(_shop(names), request)
            case "call":
                return await self._call(_shop(names[:-1]), names[-1], request)
            case "auth":
                return await self._sign_in(names[-1], request)
            case "msgxc":
                return b""  # HOLDER: that we answer is the answer
            case _:
                raise _NOT_FOUND

    async def _get(self, shop: UUID, request: _Request, reply: Reply) -> None:
        if request.query:
            raise Refusal("system.invalidQuery", "Invalid query")
        if not self.is_serving:
            passing = await self._loaded(shop, Ring())
            if not self.is_serving:  # still
                await reply(passing.result())
                return
        ring = await self._ring(shop)
        async with ring.lock:
            if not ring.is_loaded:
                await self._loaded(shop, ring)
            if self._rings.get(shop) is not ring:
                raise Unavailable("ask again")  # given up meanwhile: no event would follow this answer
            # Within the lock: an event must not overtake the answer that it builds on.
            await reply(ring.result())

    async def _ring(self, shop: UUID) -> Ring:
        ring = self._rings.setdefault(shop, Ring())
        self._rings.move_to_end(shop)
        if len(self._rings) > RINGS_MAX:
            given_up, _ = self._rings.popitem(last=False)
            await self._bus.send("system.reset", _encode({"resources": [_resource(given_up)]}))
        return ring

    async def _loaded(self, shop: UUID, ring: Ring) -> Ring:
        """With all that is published by now; what comes meanwhile is put into the ring by `_show`."""
        end = await self._log.end(SHOPS)
        try:
            await self._watermark.passed((shops.NAME,), SHOPS, end, timeout_s=LOAD_S_MAX)
        except TimeoutError:
            raise Unavailable("the read models are behind") from None
        newest = shop_queries.Window(newest_first=True)
        rows, _ = await shop_queries.updates(self._models, shop, newest, place=None, limit=LAST)
        for row in reversed(rows):
            ring.add(Item(row["created_us"], row["position"], row["body"].encode()))
        ring.is_loaded = True
        return ring

    async def _show(self, fact: Recorded, message: ShopMessage) -> None:
        """A new message: into its ring, and to the gateways that mirror it."""
        ring = self._rings.get(message.shop_id)
        if ring is None or not fact.subject.endswith(str(message.shop_id)):
            return
        item = Item(shops.micros(happened(message, fact.at)), fact.position, encode(message))
        if not ring.is_loaded:
            ring.add(item)
            return
        async with ring.lock:
            for event, payload in ring.add(item):
                await self._send_or_reset(f"event.{_resource(message.shop_id)}.{event}", payload)

    async def _send_or_reset(self, subject: str, payload: bytes) -> None:
        if not self._lease.is_held:
            return  # the next holder's reset tells it
        try:
            await self._bus.send(subject, payload)
        except Unavailable:
            self._reset.set()

    async def _access(self, shop: UUID, request: _Request) -> bytes:
        known = await self._admit(request.token.jwt if request.token else None)
        # Signed in by the holder before us, perhaps: gateways ask again after a reset.
        await self._note_end(request.cid, known)
        caller = known.caller
        result: dict[str, Any] = {}
        if _may(assert_may_read, caller, shop):
            result["get"] = True
        if _may(assert_may_write, caller, shop):
            result["call"] = "publish,send"
        if not result:
            raise _DENIED
        return _encode({"result": result})

    async def _call(self, shop: UUID, method: str, request: _Request) -> bytes:
        message: ShopMessage
        match method:
            case "publish":
                message = msgspec.json.decode(request.params, type=Update)
            case "send":
                message = msgspec.json.decode(request.params, type=Addressed)
            case _:
                raise Refusal("system.methodNotFound", "Method not found")
        caller = (await self._admit(request.token.jwt if request.token else None)).caller
        assert_may_write(caller, shop)
        assert_addressed_to(shop, message)
        key = msgspec.json.decode(request.params, type=_Keyed).idempotency_key or ""
        claim, body = claim_of(caller.uid, message, key), body_of(message, bytes(request.params))
        context = Context(realm=caller.realm, actor=caller.uid)
        await self._publish(shop, body, topic_of(message), context, claim)
        return _encode({"result": {"status": f"Message sent to shop ID {shop}"}})

    async def _sign_in(self, method: str, request: _Request) -> bytes:
        """auth.updates.login: params {"token": ...}, or the connection's Authorization header."""
        if method != "login":
            raise Refusal("system.methodNotFound", "Method not found")
        if not _CID.fullmatch(request.cid):
            raise Refusal("system.invalidParams", "cid is missing")
        given = (msgspec.json.decode(request.params, type=_Login | None) or _Login()).token
        bearer = _BEARER.fullmatch("".join(request.header.get("Authorization", [])[:1]))
        jwt = given or (bearer[1] if bearer else "")
        await self._note_end(request.cid, await self._admit(jwt))
        await self._bus.send(f"conn.{request.cid}.token", _encode({"token": {"jwt": jwt}}))
        return _encode({"result": None})

    async def _note_end(self, cid: str, known: Known) -> None:
        """When to take the connection's token back."""
        if not self.is_serving or not _CID.fullmatch(cid) or known.expires_at_s == math.inf:
            return
        self._ends_s.pop(cid, None)
        if len(self._ends_s) >= CONNECTIONS_MAX:
            await self._sign_out(self._ends_s.popitem(last=False)[0])
        self._ends_s[cid] = known.expires_at_s

    async def _sign_out(self, cid: str) -> None:
        await self._send_or_reset(f"conn.{cid}.token", _encode({"token": None}))

    async def _end_tokens(self) -> None:
        """A connection's token is taken back when it expires."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = self._now_s()
            for cid in [cid for cid, end_s in self._ends_s.items() if end_s <= now_s]:
                del self._ends_s[cid]
                await self._sign_out(cid)

    async def _send_resets(self) -> None:
        """At the start and after a lost connection nobody knows which events came through."""
        while True:
            await self._reset.wait()
            self._reset.clear()
            if not self._lease.is_held:
                continue
            try:
                await self._bus.send("system.reset", _encode({"resources": [EVERY], "access": [EVERY]}))
            except Unavailable:
                log.info("res_reset_waits")  # sent when the connection is back


def _shop(names: list[str]) -> UUID:
    """Of updates.store.<id>. Raises Refusal for what is no such resource."""
    try:
        shop = UUID(names[-1]) if names[:-1] == ["updates", "store"] else None
    except ValueError:
        shop = None
    if shop is None or str(shop) != names[-1]:
        raise _NOT_FOUND
    return shop


def _resource(shop: UUID) -> str:
    return f"updates.store.{shop}"


def _may(assert_may: Callable[[Caller, UUID], None], caller: Caller, shop: UUID) -> bool:
    try:
        assert_may(caller, shop)
    except MsgxcError:
        return False
    return True


def _as_refusal(error: MsgxcError) -> Refusal:
    match error:
        case Invalid() | ClaimMismatch() | TooLarge():
            return Refusal("system.invalidParams", error.detail, {"field": error.field})
        case Unavailable():
            return Refusal("system.internalError", error.detail)
        case _:
            return Refusal(_DENIED.code, error.detail)
