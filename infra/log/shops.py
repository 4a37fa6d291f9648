"""SHOPS as the EzOut contract uses it: appends, reads by shop, and what is new. Implements api.ezout.port.ShopLog.

A shop's messages stand on the stream in their published form, so that a plain subscriber of `updates.store.<id>`
reads them; the envelope is in headers. The server republishes each on `live.updates.store.<id>` with its position
and the shop's previous one, so a gap shows. Knows nothing of who may see what.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from domain.context import Context
from domain.recorded import SHOPS
from infra.eventstore.wire import pack_bytes
from infra.nats.appends import Appender, Entry
from infra.nats.errors import ApiFailure, NotServing
from infra.nats.frames import Frame, parse_headers
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream

Clock = Callable[[], datetime]
ShopCallback = Callable[[int, int, bytes], None]
"""position, previous position of the same shop, body. Must not block."""


def shop_subject(shop: UUID) -> str:
    """The contract's subject: the id as UUIDs are written, with dashes."""
    return f"updates.store.{shop}"


class JetStreamShops:
    """Appends are acknowledged one by one: a till waits for its own update alone."""

    def __init__(self, js: JetStream, guard: Guard, clock: Clock) -> None:
        self._js, self._guard, self._clock = js, guard, clock
        self._appender = Appender(js, guard, SHOPS)

    def epoch(self) -> str:
        return self._guard.epoch(SHOPS)

    async def publish(self, shop: UUID, body: bytes, *, topic: str, context: Context) -> int:
        packed = pack_bytes(
            shop_subject(shop),
            topic,
            body,
            at=self._clock(),
            correlation=context.correlation,
            Realm=context.realm,
            Actor=context.actor,
        )
        return await self._appender.append([Entry(packed.subject, packed.lines, packed.body)])

    async def head(self) -> int:
        info = await self._js.info(SHOPS)
        if info is None:
            raise NotServing(ApiFailure(503, 0, "there is no stream SHOPS"))
        return info.state.last_seq

    async def since(self, shop: UUID, after: int, limit: int) -> list[tuple[int, bytes]]:
        await self._guard.assert_same(SHOPS)
        found = await self._js.read(SHOPS, shop_subject(shop), seq=after + 1, limit=limit)
        return [(stored.sequence, stored.data) for stored in found]

    async def subscribe(self, shop: UUID, callback: ShopCallback) -> Callable[[], Awaitable[None]]:
        def on_frame(frame: Frame) -> None:
            headers = parse_headers(frame.headers)
            callback(int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"]), frame.data)

        connection = self._js.connection
        subscription = await connection.route_surely(f"live.{shop_subject(shop)}", on_frame)
        return lambda: connection.unroute(subscription)

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        return self._js.connection.on_reconnect(call)


async def open_shops(js: JetStream, clock: Clock) -> JetStreamShops:
    """Raises Unavailable when there is no such stream, or no answer."""
    guard = Guard(js)
    await guard.begin((SHOPS,))
    return JetStreamShops(js, guard, clock)
