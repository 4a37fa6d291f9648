"""Replays on an exchange that is served: two apps of its own for each test, and what its log tells of a device.

The log is read as `msgxc events` reads it, without a process for each look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx

from cli.reading.facts import shown
from cli.reading.logreading import last_facts, matching, reading
from cli.reading.stories import facts_of, story
from cli.session import Session, now
from domain.ids import Ids
from domain.recorded import EVENTS
from infra.configuration.datafolder import DataFolder
from infra.log.log import JetStreamLog
from infra.secrets import open_keyring
from infra.settings import load
from tests.fixtures.served import Served
from tests.replays.sdks.contract import GEOFENCES
from tests.replays.sdks.devices import FIELD, Device

FACTS_MAX = 10_000
UNLIMITED = {"client_per_minute": 100_000, "app_per_minute": 1_000_000, "address_per_minute": 1_000_000}
"""Scenarios are shorter than real lives."""
ADDRESS_SET, ADDRESS_RETIRED, MOVED = "client.address-set", "client.address-retired", "client.moved"


@dataclass(slots=True)
class ServedPlace:
    exchange: Served
    http: httpx.AsyncClient
    app: str
    other: str

    _log: JetStreamLog
    _ids: Ids

    async def events_of(self, device: Device) -> list[str]:
        return device_events(await self.story(device))

    async def push_token_of(self, device: Device) -> str | None:
        """The token that was set last, if no other client has taken it since and the client was not reset."""
        own = UUID(device.state()["client"]).hex
        token, address, at = None, None, 0
        for fact in await self._facts("client"):
            data, is_own = fact["data"], fact["subject"].endswith(own)
            kind = fact["topic"].rpartition(".")[0]
            if is_own and kind in {ADDRESS_RETIRED, MOVED}:
                token = address = None
            elif kind == ADDRESS_SET and is_own:
                token, address, at = data["token"], data["address"], fact["position"]
            elif kind == ADDRESS_SET and data["token"] == token and fact["position"] > at:
                token = address = None
        return address

    async def uid_of(self, contact: UUID) -> str:
        """What the contact was created by."""
        [uid] = [
            fact["data"]["uid"]
            for fact in await self._facts("contact")
            if fact["topic"].startswith("contact.created") and fact["subject"].endswith(contact.hex)
        ]
        return str(uid)

    async def _facts(self, kind: str) -> list[dict[str, Any]]:
        found = await last_facts(self._log, EVENTS, FACTS_MAX, matching([kind]))
        return [shown(fact, personal=True) for fact in found]

    async def story(self, device: Device) -> list[dict[str, Any]]:
        """Everything that `msgxc events show` tells of the device."""
        return await self.story_of(device.state()["client"])

    async def story_of(self, client: str) -> list[dict[str, Any]]:
        told = await story(self._log, self._ids, client, "main")
        return [shown(fact, personal=True) async for fact in facts_of(self._log, told)]


def device_events(story: list[dict[str, Any]]) -> list[str]:
    """Names of the device events in a story, in order."""
    return [
        event["name"]
        for fact in story
        if fact["stream"] == "SIGNALS"
        for event in fact["data"].get("events", [])
    ]


def register_app(exchange: Served, code: str, style: str = "emarsys-v3", **more: Any) -> None:
    settings = {
        "name": code,
        "default_contact_field": FIELD,
        "geofences": GEOFENCES,
        "rate_limits": UNLIMITED,
        "push": {"style": style},
        **more,
    }
    answer = exchange.call("PUT", f"/api/v2/apps/{code}", settings)
    assert answer.status_code in {200, 201}, answer.text


@asynccontextmanager
async def at(exchange: Served, style: str = "emarsys-v3", **settings: Any) -> AsyncIterator[ServedPlace]:
    """Two new apps of the exchange. settings: of both, beyond the usual."""
    app, other = (f"APP-{uuid4().hex[:8]}" for _ in range(2))
    for code in (app, other):
        register_app(exchange, code, style, **settings)
    session = session_of(exchange)
    async with (
        httpx.AsyncClient(base_url=str(exchange.http.base_url)) as http,
        reading(session) as log,
    ):
        yield ServedPlace(exchange, http, app, other, log, Ids(session.keyring.id_key))


def session_of(exchange: Served) -> Session:
    """As a command on the exchange's data opens it."""
    settings = load(exchange.environment())
    folder = DataFolder(settings.data_dir).prepare()
    return Session(settings, folder, open_keyring(folder, settings.keys, now=now()))
