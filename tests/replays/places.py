"""Where replays run: the contract in memory, or an exchange that is served. What a scenario may ask of either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from tests.replays.sdks.contract import Contract
from tests.replays.sdks.devices import MAKERS, Device


class Place(Protocol):
    """app, other: the codes of two applications of one merchant."""

    app: str
    other: str
    http: httpx.AsyncClient

    async def events_of(self, device: Device) -> list[str]:
        """Names of the device's events that the service has taken, in order."""
        ...

    async def push_token_of(self, device: Device) -> str | None:
        """What a message to this device would be sent to now."""
        ...


@dataclass(slots=True)
class InMemory:
    http: httpx.AsyncClient
    contract: Contract
    app: str = "APP1"
    other: str = "APP2"

    async def events_of(self, device: Device) -> list[str]:
        return [event["name"] for event in self.contract.events]

    async def push_token_of(self, device: Device) -> str | None:
        state = self.contract.clients.get((device.sdk.app, device.client_id), {})
        return state.get("pushToken")


@asynccontextmanager
async def in_memory() -> AsyncIterator[InMemory]:
    contract = Contract()
    transport = httpx.ASGITransport(contract)
    async with httpx.AsyncClient(transport=transport, base_url="http://contract") as http:
        yield InMemory(http, contract)


@dataclass(slots=True)
class Devices:
    """Makes devices at a place, and holds them to account at the end."""

    place: Place
    made: list[Device] = field(default_factory=list)

    def new(self, kind: str) -> Device:
        device = MAKERS[kind](self.place.http, self.place.app)
        self.made.append(device)
        return device

    def assert_unsurprised(self) -> None:
        for device in self.made:
            device.surprises.assert_none()
            assert not device.storage.queue, f"left in the queue: {device.storage.queue}"
