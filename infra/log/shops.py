"""SHOPS as the EzOut contract uses it: appends, reads by shop, and what is new. Implements api.ezout.port.ShopLog.

A shop's messages stand on the stream in their published form, so that a plain subscriber of `updates.store.<id>`
reads them; the envelope is in headers. The server republishes each on `live.updates.store.<id>` with its position
and the shop's previous one, so a gap shows. Knows nothing of who may see what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec

from commands.port import VersionConflict
from domain.context import Context
from domain.errors import ClaimMismatch, Unavailable
from domain.recorded import SHOPS
from domain.text.number import whole_number
from infra.eventstore.wire import Packed, pack_shop, time_of
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.jetstream import DIRECT_BATCH_MAX, JetStream
from infra.nats.streams import CLAIMS_BUCKET, CLAIMS_STREAM
from infra.nats.wire.errors import ApiFailure, NotServing
from infra.nats.wire.frames import Frame, Stored, parse_headers

LOOK_BYTES = 1 << 20
"""Of messages read at once when one is looked for that is probably the first of them."""

Clock = Callable[[], datetime]
ShopCallback = Callable[[int, int, bytes], None]
"""position, previous position of the same shop, body. Must not block."""


def shop_subject(shop: UUID) -> str:
    """The contract's subject: the id as UUIDs are written, with dashes."""
    return f"updates.store.{shop}"


class _Claimed(msgspec.Struct):
    """digest: of the message. after: the message is behind this position, if it was stored."""

    digest: str
    after: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Claimed).decode


class JetStreamShops:
    """Appends are acknowledged one by one: a till waits for its own update alone."""

    def __init__(self, js: JetStream, guard: Guard, clock: Clock) -> None:
        self._js, self._guard, self._clock = js, guard, clock
        self._appender = Appender(js, guard, SHOPS)
        # Taken anew after a restore: nothing is checked.
        self._claims = Appender(js, Guard(js), CLAIMS_STREAM)

    def epoch(self) -> str:
        return self._guard.epoch(SHOPS)

    async def publish(self, shop: UUID, body: bytes, *, topic: str, context: Context, claim: str = "") -> int:
        packed = pack_shop(shop_subject(shop), topic, body, at=self._clock(), context=context)
        if claim:
            return await self._publish_once(packed, claim)
        return await self._appender.append([Entry(packed.subject, packed.lines, packed.body)])

    async def _publish_once(self, packed: Packed, claim: str) -> int:
        """The claim first, then the message under the claim's name.

        Whoever comes second looks for it in the archive; two at the same time are for the server's window to tell.
        """
        name = sha256(claim.encode()).hexdigest()[:32]
        subject, digest = f"$KV.{CLAIMS_BUCKET}.{name}", sha256(packed.body).hexdigest()
        claimed = Entry(subject, b"", _encode(_Claimed(digest, await self.head())), expect=0)
        try:
            await self._claims.append([claimed])
        except VersionConflict:
            position = await self._claimed(subject, digest, packed.subject, name)
            if position:
                return position
        return await self._appender.append([Entry(packed.subject, packed.lines, packed.body, msg_id=name)])

    async def _claimed(self, subject: str, digest: str, shop_subject: str, name: str) -> int:
        """Where the message of an earlier claim is, 0 if it was never stored. Raises ClaimMismatch."""
        stored = await self._js.leader_get(CLAIMS_STREAM, last_by_subj=subject)
        if stored is None:
            raise Unavailable("the claim has just ended; send it again")
        earlier = _decode(stored.data)
        if earlier.digest != digest:
            raise ClaimMismatch(
                "this Idempotency-Key was used with another message; use a new key for a new one",
                field="Idempotency-Key",
            )
        after = earlier.after
        while page := await self._js.page(
            SHOPS, shop_subject, seq=after + 1, limit=DIRECT_BATCH_MAX, bytes_max=LOOK_BYTES
        ):
            for message in page:
                if message.headers.get("Nats-Msg-Id") == name:
                    return message.sequence
            after = page[-1].sequence
        return 0

    async def head(self) -> int:
        info = await self._js.info(SHOPS)
        if info is None:
            raise NotServing(ApiFailure(503, 0, "there is no stream SHOPS"))
        return info.state.last_seq

    async def since(self, shop: UUID, after: int, limit: int) -> list[tuple[int, bytes, datetime | None]]:
        await self._guard.assert_same(SHOPS)
        found = await self._js.read(SHOPS, shop_subject(shop), seq=after + 1, limit=limit)
        return [(stored.sequence, stored.data, _published(stored)) for stored in found]

    async def subscribe(self, shop: UUID, callback: ShopCallback) -> Callable[[], Awaitable[None]]:
        def on_frame(frame: Frame) -> None:
            headers = parse_headers(frame.headers)
            position = whole_number(headers.get("Nats-Sequence", ""))
            previous = whole_number(headers.get("Nats-Last-Sequence", ""))
            # Else it is not what the server publishes again, but somebody's own.
            if position is not None and previous is not None:
                callback(position, previous, frame.data)

        connection = self._js.connection
        subscription = await connection.route_surely(f"live.{shop_subject(shop)}", on_frame)
        return lambda: connection.unroute(subscription)

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        return self._js.connection.on_reconnect(call)


def _published(stored: Stored) -> datetime | None:
    with contextlib.suppress(ValueError):  # published past us
        return time_of(stored.headers)
    return None


async def open_shops(js: JetStream, clock: Clock) -> JetStreamShops:
    """Raises Unavailable when there is no such stream, or no answer."""
    guard = Guard(js)
    await guard.begin((SHOPS,))
    return JetStreamShops(js, guard, clock)
