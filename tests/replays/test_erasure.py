"""Who used a device is erased: its events leave no trace of them, and the device learns that nobody uses it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.fixtures.served import Served
from tests.replays.places import Devices
from tests.replays.sdks.devices import FIELD, MAKERS
from tests.replays.served_place import ServedPlace, at

HEARD_S_MAX = 5.0
"""A second is promised; the machine may be busy."""


@pytest.mark.parametrize("kind", sorted(MAKERS))
async def test_an_erased_persons_device_goes_on_as_nobodys(exchange: Served, kind: str) -> None:
    """No SDK is surprised. From a second after the erasure at most, nothing is stored under the person's reference."""
    async with at(exchange) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        await device.sdk.set_contact(FIELD, f"{device.client_id}@example.com")
        await device.sdk.track("before")
        erased = device.state()["contactReference"]
        uid = quote(await place.uid_of(UUID(erased)), safe="")
        answer = await asyncio.to_thread(exchange.call, "DELETE", f"/api/v2/contacts/{uid}")
        assert answer.is_success, answer.text
        async with asyncio.timeout(HEARD_S_MAX):
            while "contactField" in device.state():
                await device.sdk.track("at once")
        stored = await signals_of(place, erased, device.state()["client"])
        for number in range(3):
            await device.sdk.track(f"later {number}")
        assert await signals_of(place, erased, device.state()["client"]) == stored
        assert "contactReference" not in device.state()
        devices.assert_unsurprised()


async def signals_of(place: ServedPlace, contact: str, client: str) -> int:
    """How many of the client's batches name the contact."""
    found = await place.story_of(client)
    return sum(
        fact["stream"] == "SIGNALS" and UUID(contact).hex in str(fact["data"].get("contact")).replace("-", "")
        for fact in found
    )
