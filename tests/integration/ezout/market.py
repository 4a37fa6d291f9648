"""Shops over a real log: the API as it is, served by uvicorn, and what tills and merchants do with it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import connect

from api.access.auth import Verifier
from api.app import build
from api.ezout.door import Door, JwtDoor, OpenDoor
from api.ezout.hub import ShopHub
from api.ezout.parts import Pace, Shops
from api.parts import Settings
from api.sockets.protocol import OPTIONS
from domain.recorded import SHOPS
from infra.log.log import JetStreamLog, utc_now
from infra.log.opened import open_log
from infra.log.shops import JetStreamShops, open_shops
from infra.nats.server import NatsServer
from infra.readstore.store import ReadStore
from processes.models.projector import Projector
from processes.models.watermark import Watermark
from projections.port import Generation
from projections.shops import NAME
from projections.shops import Shops as Projection
from tests.fixtures.nats import MASTER_KEY, log_config, wipe
from tests.fixtures.tills import SHOP, update
from tests.memory.site import EVER_S, PATIENCE_S, ChangingKeys, Site, eventually, token
from tests.memory.world import IDS, world

OTHER = UUID("0b7a0a53-26ac-4a24-8b60-d6b1f0a3c111")


def merchant(*shops: UUID, **claims: Any) -> str:
    return token("maria", shops=[str(shop) for shop in shops], **claims)


@dataclass(slots=True)
class Market:
    """port: of the API on loopback. log: the stream behind it. client: without a token. app: what is served."""

    log: JetStreamLog
    shops: JetStreamShops
    hub: ShopHub
    keys: ChangingKeys
    client: httpx.AsyncClient
    port: int
    site: Site
    app: Starlette

    async def publish(
        self, body: Any = None, *, shop: UUID | str | None = None, by: str | None = None
    ) -> httpx.Response:
        sent = update() if body is None else body
        path = f"/publish/{shop or (sent['shop_id'] if isinstance(sent, Mapping) else SHOP)}"
        return await self.client.post(path, content=_encoded(sent), headers=bearing(by))

    async def sent(self, count: int, *, shop: UUID = SHOP, start: int = 0, **changes: Any) -> None:
        """Publish updates with product_id start, start + 1, ..."""
        for number in range(start, start + count):
            answer = await self.publish(update(shop_id=str(shop), product_id=number, **changes))
            assert answer.status_code == 200, answer.text

    async def stored(self) -> int:
        return await self.shops.head()

    def socket(self, shop: UUID = SHOP, *, by: str | None = None, **query: Any) -> connect:
        address = httpx.URL(f"ws://127.0.0.1:{self.port}/shops/{shop}/socket", params=query)
        return connect(str(address), additional_headers=bearing(by), compression=None)

    @asynccontextmanager
    async def events(
        self, shop: UUID = SHOP, *, by: str | None = None, last_id: str = "", **query: Any
    ) -> AsyncIterator[EventStream]:
        headers = bearing(by) | ({"Last-Event-ID": last_id} if last_id else {})
        path = f"/shops/{shop}/stream"
        async with self.client.stream("GET", path, params=query, headers=headers) as answer:
            yield EventStream(answer)


class EventStream:
    """Server-sent events, parsed as a browser does (WHATWG HTML, section 9.2.6)."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        """The next event: its type and its data."""
        kind, data = "message", ""
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                match field:
                    case "id":
                        self.last_id = value
                    case "event":
                        kind = value
                    case "data":
                        data += value
                    case "" if data:
                        return kind, json.loads(data)
                    case _:
                        pass
        raise EOFError

    async def products(self, count: int) -> list[int]:
        """product_id of the next updates."""
        found: list[int] = []
        while len(found) < count:
            kind, data = await self.next()
            if kind == "update":
                found.append(data["product_id"])
        return found


def bearing(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


LIVELY = Pace(beat_s=0.2, tick_s=0.05, send_s_max=0.5)
"""For tests of streams, which wait for beats and for slow readers to be cut off."""


@asynccontextmanager
async def market_on(
    server: NatsServer, *, auth: str = "none", pace: Pace | None = None
) -> AsyncIterator[Market]:
    """A market on an empty log."""
    await wipe(server)
    async with (
        open_log(log_config(server), master_key=MASTER_KEY) as log,
        market(log, auth=auth, pace=pace) as made,
    ):
        yield made


@asynccontextmanager
async def market(
    log: JetStreamLog,
    *,
    door: Door | None = None,
    auth: str = "none",
    pace: Pace | None = None,
    store: ReadStore | None = None,
    rate_quota: int = 6_000,
) -> AsyncIterator[Market]:
    """auth: none or jwt, or a door of one's own. store: where the read models are; else in memory."""
    keys = ChangingKeys()
    verifier = Verifier(keys, now_s=time.time)
    door = door or (JwtDoor(verifier) if auth == "jwt" else OpenDoor())
    shops = await open_shops(log.js, utc_now)
    hub = ShopHub(shops, IDS)
    async with world(roles=()) as made:
        site = Site(
            made,
            Settings(cors_origins=("*",), rate_quota=rate_quota, rate_window_s=EVER_S),
            None,
            (),
            strict=True,
        )
        parts = replace(
            site.parts, verifier=verifier, shops=Shops(log=shops, hub=hub, door=door, pace=pace or Pace())
        )
        watermark = made.watermark
        generation: Generation = made.models.generation(NAME)
        if store is not None:
            watermark, generation = Watermark(store, local=True), await _generation(store)
            parts = replace(parts, models=store, watermark=watermark)
        app = build(parts)
        # Named TCP, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2, **OPTIONS)
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            projector = Projector(log, SHOPS, [(Projection(), generation)], watermark)
            projecting = asyncio.create_task(projector.run())
            await eventually(lambda: server.started)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                try:
                    yield Market(log, shops, hub, keys, client, port, site, app)
                finally:
                    projecting.cancel()
                    hub.drain()
                    server.should_exit = True
                    await serving


async def _generation(store: ReadStore) -> Generation:
    number = await store.begin(NAME, Projection.version)
    generation = await store.generation(NAME, number, Projection.tables)
    await store.switch(NAME, number)
    return generation


def some_shop() -> UUID:
    return uuid4()
