"""An exchange's API in this process, on a nats-server of its own, whose answers to device events a test can hold back.

All else goes to the same server by another connection, so that only device events have a stream that is too slow.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.bootstrap import open_exchange
from cli.serve.apirole import Api
from cli.serve.webserver import listening_socket
from cli.session import now
from infra.apps.directory import FollowedApps
from infra.log.signals import JetStreamSignals, open_signals
from infra.nats.jetstream import JetStream
from infra.nats.server import NatsServer, ServerConfig, running_server
from infra.nats.wire.connection import Endpoint, connected
from infra.signing.folder import ensure_key
from infra.supervisor import Stop, Supervisor
from tests.fixtures.proxy import Proxy, proxy_to
from tests.fixtures.served import Served
from tests.memory.site import eventually
from tests.replays.sdks.devices import FIELD
from tests.replays.served_place import UNLIMITED, ServedPlace, session_of


@dataclasses.dataclass(slots=True)
class CrowdedPlace:
    """stream: between the API and the stream of device events. signals: what it has in flight there."""

    place: ServedPlace
    stream: Proxy
    signals: JetStreamSignals
    apps: FollowedApps

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """As an admin."""
        headers = {"Authorization": f"Bearer {self.place.exchange.token('ops', 'admin')}"}
        answer = await self.place.http.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer

    async def limit(self, **limits: int) -> None:
        """Have the app's devices make so many calls a minute from now on."""
        settings = {"name": "crowded", "default_contact_field": FIELD, "rate_limits": UNLIMITED | limits}
        await self.call("PUT", f"/api/v2/apps/{self.place.app}", settings)
        wanted = (UNLIMITED | limits)["client_per_minute"]
        async with asyncio.timeout(5):
            while await self._limit() != wanted:
                await asyncio.sleep(0.01)

    async def _limit(self) -> int:
        app = await self.apps.app(self.place.app)
        return app.settings.rate_limits.client_per_minute if app is not None else 0


@asynccontextmanager
async def crowded(folder: Path) -> AsyncIterator[CrowdedPlace]:
    async with running_server(ServerConfig(folder=folder / "nats", sync="2m")) as server:
        served = Served(folder, MSGXC_NATS_URL=f"nats://{server.token}@{server.url.partition('//')[2]}")
        served.write_keys()
        try:
            async with _crowded(served, server) as made:
                await made.limit()
                yield made
        finally:
            served.http.close()


@asynccontextmanager
async def _crowded(served: Served, server: NatsServer) -> AsyncIterator[CrowdedPlace]:
    session = session_of(served)
    ensure_key(session.folder.sdk, now=now())
    stop, ready = Stop(), asyncio.Event()
    async with (
        open_exchange(
            session, Endpoint(urls=server.url, token=server.token, name="api"), {}, projecting=True
        ) as exchange,
        proxy_to(int(server.url.rpartition(":")[2])) as stream,
        connected(Endpoint(urls=stream.url, token=server.token, name="signals")) as connection,
        asyncio.TaskGroup() as group,
    ):
        signals = await open_signals(JetStream(connection), now)
        bound = listening_socket(session.settings.http)
        api = Api(dataclasses.replace(exchange, signals=signals), bound, None, environment=None)
        api.supervisor = Supervisor(api.roles())

        async def note_ready() -> None:
            ready.set()

        api.ready = note_ready
        group.create_task(api.supervisor.run(stop))
        await ready.wait()
        await eventually(lambda: not exchange.log.js.connection.is_closed)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as http:
            place = ServedPlace(served, http, "CROWDED", "", exchange.log, exchange.ids)
            try:
                yield CrowdedPlace(place, stream, signals, exchange.apps)
            finally:
                stream.release_answers()
                stop.set()
