"""Keys change under living devices: none of them notices."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from tests.fixtures.served import ROOT, Served
from tests.replays.places import Devices
from tests.replays.sdks.devices import FIELD, MAKERS, Device
from tests.replays.served_place import ServedPlace, at

PATIENCE_S = 30.0


def kid(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


async def test_a_rotation_of_the_signing_keys_goes_unnoticed(exchange: Served) -> None:
    """Tokens of the old key stay good, also for a refresh; new ones carry the new key as soon as it signs."""
    async with at(exchange) as place:
        devices = Devices(place)
        for kind in sorted(MAKERS):
            device = devices.new(kind)
            await device.sdk.start()
            await device.sdk.set_contact(FIELD, "ann@example.com")
        old = {kid(device.storage.client_state or "") for device in devices.made}
        await rotate(exchange)
        for device in devices.made:
            await device.sdk.track("with tokens of the old key")
            await until_signed_anew(device, old)
            device.spoil_contact_token()
            await device.sdk.track("refreshed under the new key")
            assert kid(device.storage.contact_token or "") not in old
            await device.sdk.clear_contact()
            await device.sdk.track("with tokens of the new key")
            assert device.events_sent()[-1] == "with tokens of the new key"
        devices.assert_unsurprised()


@pytest.mark.parametrize("kind", sorted(MAKERS))
async def test_a_key_that_is_taken_away_costs_no_call(exchange: Served, kind: str) -> None:
    """Each SDK refreshes, and goes on as the client that it was. Generation 4 takes no state from a refresh
    (ECClient.kt, handleClientState, at 4.0.1): it says the worthless one again, beside a good contact token, with a
    sign-in, too.
    """
    async with at(exchange) as place:
        devices = Devices(place)
        device, other = devices.new(kind), devices.new(kind)
        for each in (device, other):
            await each.sdk.start()
            await each.sdk.set_contact(FIELD, f"{each.client_id}@example.com")
        clients = [each.state()["client"] for each in devices.made]
        former = key_files(exchange)
        await rotate(exchange)
        for file in former:
            file.unlink()
        await until_worthless(place, device)
        await device.sdk.track("after the key")
        assert device.events_sent()[-1] == "after the key"
        await other.sdk.set_contact(FIELD, "bob@example.com")
        assert other.state()["contactField"]["contactFieldValue"] == "bob@example.com"
        for each in devices.made:
            assert kid(each.storage.client_state or "") in {file.stem for file in key_files(exchange)}
        assert [each.state()["client"] for each in devices.made] == clients
        devices.assert_unsurprised()


def key_files(exchange: Served) -> set[Path]:
    return set((exchange.folder / "data" / "keys" / "sdk").glob("*.json"))


async def until_worthless(place: ServedPlace, device: Device) -> None:
    """Until the exchange refuses the state that the device has; the device hears nothing of it."""
    headers = {"x-client-id": device.client_id, "x-client-state": device.storage.client_state or ""}
    async with asyncio.timeout(PATIENCE_S):
        while (await place.http.get(f"/v3/apps/{place.app}/geo-fences", headers=headers)).status_code != 401:
            await asyncio.sleep(0.1)


async def rotate(exchange: Served) -> None:
    command = [sys.executable, "-m", "cli", "keys", "rotate", "sdk"]
    environment = exchange.environment()
    await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, check=True, capture_output=True
    )


async def until_signed_anew(device: Device, old: set[str]) -> None:
    """Whatever the device does, until an answer's client state is of a new key."""
    number = 0
    async with asyncio.timeout(PATIENCE_S):
        while kid(device.storage.client_state or "") in old:
            number += 1
            await asyncio.sleep(0.1)
            await device.sdk.set_push_token(f"token-{number}")
