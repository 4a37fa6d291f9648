"""Replays on an exchange that is served: two apps of its own for each test, and what the operator's commands tell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.fixtures.served import ROOT, Served
from tests.replays.contract import GEOFENCES
from tests.replays.devices import FIELD, Device

COMMAND_S_MAX = 60.0
UNLIMITED = {"client_per_minute": 100_000, "app_per_minute": 1_000_000, "address_per_minute": 1_000_000}
"""Scenarios are shorter than real lives."""
ADDRESS_SET, ADDRESS_RETIRED, MOVED = "client.address-set.v1", "client.address-retired.v1", "client.moved.v1"


@dataclass(slots=True)
class ServedPlace:
    exchange: Served
    http: httpx.AsyncClient
    app: str
    other: str

    async def events_of(self, device: Device) -> list[str]:
        return device_events(self.story(device))

    async def push_token_of(self, device: Device) -> str | None:
        """The token that was set last, if no other client has taken it since and the client was not reset."""
        own = UUID(device.state()["client"]).hex
        token, address, at = None, None, 0
        for fact in self.facts("events", "tail", "-n", "10000", "--topic", "client", "--stream", "EVENTS"):
            data, is_own = fact["data"], fact["subject"].endswith(own)
            if is_own and fact["topic"] in {ADDRESS_RETIRED, MOVED}:
                token = address = None
            elif fact["topic"] == ADDRESS_SET and is_own:
                token, address, at = data["token"], data["address"], fact["position"]
            elif fact["topic"] == ADDRESS_SET and data["token"] == token and fact["position"] > at:
                token = address = None
        return told(address) if address is not None else None

    def story(self, device: Device) -> list[dict[str, Any]]:
        """Everything that `msgxc events show` tells of the device."""
        return self.facts("events", "show", device.state()["client"])

    def facts(self, *command: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.command(*command, "--json", "--show-personal").splitlines()]

    def command(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *command],
            cwd=ROOT,
            env=self.exchange.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        assert done.returncode == 0, f"msgxc {' '.join(command)}: {done.stdout}\n{done.stderr}"
        return done.stdout


def told(address: str) -> str:
    """As the device told it: FCM's and APNs' tokens are texts."""
    return address


def device_events(story: list[dict[str, Any]]) -> list[str]:
    """Names of the device events in a story, in order."""
    return [
        event["name"]
        for fact in story
        if fact["stream"] == "SIGNALS"
        for event in fact["data"].get("events", [])
    ]


def register_app(exchange: Served, code: str, style: str = "emarsys-v3") -> None:
    settings = {
        "name": code,
        "default_contact_field": FIELD,
        "geofences": GEOFENCES,
        "rate_limits": UNLIMITED,
        "push": {"style": style},
    }
    answer = exchange.call("PUT", f"/api/v2/apps/{code}", settings)
    assert answer.status_code in {200, 201}, answer.text


@asynccontextmanager
async def at(exchange: Served, style: str = "emarsys-v3") -> AsyncIterator[ServedPlace]:
    """Two new apps of the exchange."""
    codes = [f"APP-{uuid4().hex[:8]}" for _ in range(2)]
    for code in codes:
        register_app(exchange, code, style)
    async with httpx.AsyncClient(base_url=str(exchange.http.base_url)) as http:
        yield ServedPlace(exchange, http, *codes)
