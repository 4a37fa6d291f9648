"""Keys change under living devices: none of them notices."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import urlsafe_b64decode

from tests.fixtures.served import ROOT, Served
from tests.replays.devices import FIELD, MAKERS, Device
from tests.replays.places import Devices
from tests.replays.served_place import at

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
