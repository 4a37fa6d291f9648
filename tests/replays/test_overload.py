"""More device events than the stream takes: devices are turned away, by their own rules come back, and lose nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

import api.emarsys.device_events.events
from api.emarsys.limits import WINDOW_S
from tests.memory.site import eventually
from tests.replays.crowded_place import CrowdedPlace, crowded
from tests.replays.places import Devices
from tests.replays.sdks import wire
from tests.replays.sdks.devices import FIELD, MAKERS, Device
from tests.replays.sdks.v4_requests import BREAKS_MAX, RETRY_PAUSE_S

IN_FLIGHT = 2
"""The bound of the exchange here."""
PATIENCE_S = 1.0
"""How long devices wait for an answer while the stream stands still."""

Told = tuple[str, datetime]
"""An event's name and the device's own time: no two of a device are the same."""


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CrowdedPlace]:
    monkeypatch.setattr(api.emarsys.device_events.events, "IN_FLIGHT_MAX", IN_FLIGHT)
    async with crowded(tmp_path) as place:
        yield place


async def started(there: CrowdedPlace, kinds: list[str]) -> tuple[Devices, list[Device]]:
    devices = Devices(there.place)
    made = [devices.new(kind) for kind in kinds]
    for device in made:
        await device.sdk.start()
        await device.sdk.set_contact(FIELD, f"{device.client_id}@example.com")
    devices.assert_unsurprised()
    return devices, made


def told_by(device: Device, *, unanswered: bool = False) -> Counter[Told]:
    """The events of all its requests, or of those that had no answer."""
    return Counter(
        (event["name"], datetime.fromisoformat(event["timestamp"]))
        for call in device.wire.sent("POST", "/client/events")
        if call.status is None or not unanswered
        for event in call.body["events"]
    )


async def stored_of(there: CrowdedPlace, device: Device) -> Counter[Told]:
    return Counter(
        (event["name"], datetime.fromisoformat(event["at"]))
        for fact in await there.place.story(device)
        if fact["stream"] == "SIGNALS"
        for event in fact["data"].get("events", [])
    )


async def assert_usable(there: CrowdedPlace) -> None:
    """Other routes answer, in less time than any device would wait."""
    async with asyncio.timeout(PATIENCE_S * 5):
        assert (await there.place.http.get("/ping")).status_code == 200
        await there.call("POST", "/api/v2/publish", {"tid": "news", "msg": "still here"})


async def test_who_is_turned_away_comes_back_and_nothing_is_lost(
    there: CrowdedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream stands still: two devices wait until their time is over, all others are hung up on at once. Each keeps
    its events, as its SDK does when there was no answer, and tells them when it goes on.
    """
    await there.call("POST", "/api/v2/threads", {"tid": "news"})
    devices, made = await started(there, ["android", "v4", "android", "ios", "ios", "v4"])
    waiting, others = made[:IN_FLIGHT], made[IN_FLIGHT:]
    before = {device.client_id: len(device.wire.calls) for device in made}
    with monkeypatch.context() as short:
        short.setattr(wire, "TIMEOUT_S", PATIENCE_S)
        there.stream.hold_answers()
        patient = [asyncio.create_task(impatiently(device, "waited for")) for device in waiting]
        await eventually(lambda: there.signals.in_flight == IN_FLIGHT)
        await assert_usable(there)
        for device in others:
            await impatiently(device, "turned away")
            tries = 1 if device.is_native else BREAKS_MAX
            assert [call.status for call in device.wire.calls[before[device.client_id] :]] == [None] * tries
            assert device.clock.waits_s == []
        await asyncio.gather(*patient)
    # Nobody waits any more; what they told is still on its way, and the door still shut.
    assert there.signals.in_flight == IN_FLIGHT
    await impatiently(others[0], "turned away again")
    await assert_usable(there)
    there.stream.release_answers()
    await eventually(lambda: there.signals.in_flight == 0)
    for device in made:
        await device.sdk.come_online()
    devices.assert_unsurprised()
    for device in made:
        stored, unanswered = await stored_of(there, device), told_by(device, unanswered=True)
        assert set(stored) == set(told_by(device))
        twice = {event for event, times in stored.items() if times > 1}
        assert twice <= set(unanswered)
        assert not twice or device in waiting
    hung_up = await there.place.http.get("/metrics")
    assert 'status="499"' in hung_up.text


async def impatiently(device: Device, name: str) -> None:
    with device.surprises.announced("retried"):
        await device.sdk.track(name)
    assert device.storage.queue


async def test_who_is_refused_by_its_limit_keeps_to_its_sdks_rule(there: CrowdedPlace) -> None:
    """429: native SDKs keep the event and everything behind it; generation 4 comes back when the minute is over, as the
    answer says, and would drop the event at the sixth refusal. Nothing is lost, and nobody else notices.
    """
    devices, made = await started(there, sorted(MAKERS))
    await there.limit(client_per_minute=1)
    for device in made:
        if not device.is_native:
            device.clock.meanwhile = there.limit
        with device.surprises.announced("retried"):
            await until_refused(device)
        assert len(device.clock.waits_s) == (0 if device.is_native else 1)
        assert all(RETRY_PAUSE_S <= each <= WINDOW_S for each in device.clock.waits_s)
        device.clock.meanwhile = None
    assert (await there.place.http.get("/ping")).status_code == 200
    await there.limit()
    for device in made:
        await device.sdk.come_online()
        await device.sdk.track("and on")
    devices.assert_unsurprised()
    for device in made:
        stored, told = await stored_of(there, device), told_by(device)
        assert set(stored.values()) == {1}
        assert set(stored) == set(told)


async def until_refused(device: Device) -> None:
    """A minute may just have begun: then one more call is within the limit."""
    for number in range(3):
        await device.sdk.track(f"limited {number}")
        if any(call.status == 429 for call in device.wire.calls):
            return
    raise AssertionError("never refused")
