"""Both sides of the RES protocol over a real server: the service, and what a gateway does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.access.auth import Verifier
from api.ezout.door import JwtDoor
from domain.context import Context
from infra.log.log import JetStreamLog
from infra.nats.leases import Lease
from infra.nats.requests import request_bus
from infra.nats.server import NatsServer
from infra.nats.wire.connection import Connection, connected
from infra.nats.wire.frames import Frame
from processes.res.service import ResService
from tests.fixtures.nats import log_config
from tests.integration.ezout.market import Market
from tests.memory.site import PATIENCE_S


@dataclass(slots=True)
class Gateway:
    """What a RES gateway does on NATS. events: (subject, payload) as they come."""

    connection: Connection
    events: asyncio.Queue[tuple[str, Any]]

    async def ask(self, subject: str, **request: Any) -> Any:
        frame = await self.connection.ask(subject, json.dumps(request).encode())
        return json.loads(frame.data)

    async def event(self) -> tuple[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.events.get()

    async def collection(self, shop: UUID) -> list[int]:
        """product_id of a shop's collection."""
        answer = await self.ask(f"get.updates.store.{shop}")
        return [value["data"]["product_id"] for value in answer["result"]["collection"]]


@asynccontextmanager
async def gateway(server: NatsServer) -> AsyncIterator[Gateway]:
    """A connection of its own, that hears all events."""
    async with connected(log_config(server).endpoint) as connection:
        made = Gateway(connection, asyncio.Queue())

        def on_event(frame: Frame) -> None:
            made.events.put_nowait((frame.subject.decode(), json.loads(frame.data)))

        for subject in ("event.>", "conn.>", "system.>"):
            await connection.route_surely(subject, on_event)
        yield made


@asynccontextmanager
async def serving(fair: Market, log: JetStreamLog | None = None) -> AsyncIterator[ResService]:
    """The service over the market's log, or a connection of its own to it, and the market's read models."""
    log = log or fair.log
    door = JwtDoor(Verifier(fair.keys, now_s=time.time))

    async def publish(shop: UUID, body: bytes, topic: str, context: Context, claim: str) -> int:
        return await fair.shops.publish(shop, body, topic=topic, context=context, claim=claim)

    async with request_bus(log.js.connection) as bus:
        service = ResService(
            bus=bus,
            lease=Lease(log.js, "res-service", asyncio.Event()),
            events=log,
            models=fair.site.world.models,
            watermark=fair.site.world.watermark,
            admit=lambda jwt: door.admit(jwt, ""),
            publish=publish,
        )
        running = asyncio.create_task(service.run())
        try:
            yield service
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
