"""Many devices of all kinds at once, each through its whole life: none of them notices the others."""

from __future__ import annotations

import asyncio

from tests.fixtures.served import Served
from tests.replays.places import Devices
from tests.replays.sdks.devices import FIELD, MAKERS, Device
from tests.replays.served_place import at

EACH = 10


async def live(device: Device, number: int, other: str) -> str:
    """A life; who is signed in at its end. Two devices of each kind share a person, and a push token changes hands."""
    sdk, who = device.sdk, f"person-{number // 2}@example.com"
    await sdk.start()
    await sdk.set_push_token(f"token-{device.client_id}")
    await sdk.set_contact(FIELD, who)
    await asyncio.gather(*(sdk.track(f"event-{n}") for n in range(5)))
    await sdk.stop()
    device.restart(version="2.0")
    sdk = device.sdk
    await sdk.start()
    device.spoil_contact_token()
    await sdk.track("later")
    if number % 3 == 0:
        await sdk.clear_contact()
        await sdk.set_contact(FIELD, who)
    if number % 5 == 0:
        assert await sdk.switch_app(other)
        await sdk.set_contact(FIELD, who)
    await sdk.track("last")
    await sdk.stop()
    return who


async def test_a_crowd_of_devices_is_served_as_each_alone(exchange: Served) -> None:
    """Devices of every SDK at once: each keeps its events, person and push token; a person is one contact."""
    async with at(exchange) as place:
        devices = Devices(place)
        made = [devices.new(kind) for kind in sorted(MAKERS) for _ in range(EACH)]
        people = await asyncio.gather(
            *(live(device, number, place.other) for number, device in enumerate(made))
        )
        devices.assert_unsurprised()
        for device, who in zip(made, people, strict=True):
            sent = device.events_sent()
            assert [name for name in sent if name.startswith("event-")] == [f"event-{n}" for n in range(5)]
            assert {"later", "last"} <= set(sent)
            assert device.state()["contactField"]["contactFieldValue"] == who
            assert device.state()["pushToken"]
        by_person: dict[str, set[str]] = {}
        for device, who in zip(made, people, strict=True):
            by_person.setdefault(who, set()).add(device.state()["contactReference"])
        assert all(len(contacts) == 1 for contacts in by_person.values()), "one person is one contact"
