"""A push that an app sends is shown by the real SDK's rules, and its click comes back as that delivery's receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.served import Served
from tests.replays.places import Devices
from tests.replays.sdks import payloads, pushes
from tests.replays.sdks.devices import FIELD
from tests.replays.sdks.payloads import Shown
from tests.replays.served_place import at

READERS: dict[str, tuple[str, str, Callable[[Any], Shown | None]]] = {
    "android": ("emarsys-v3", "android", payloads.android),
    "ios": ("emarsys-v3", "ios", payloads.ios),
    "v4": ("emarsys-v4", "android", payloads.v4_android),
}
"""By SDK: its style, its operating system, its parser."""


@pytest.mark.parametrize("kind", sorted(READERS))
async def test_a_push_is_shown_and_its_click_becomes_a_receipt(exchange: Served, kind: str) -> None:
    """A push sent to an app is shown by its SDK as written, and the click becomes the message's receipt."""
    style, os, read = READERS[kind]
    async with at(exchange, style) as place:
        devices = Devices(place)
        device = devices.new(kind)
        token = pushes.device_token(exchange, os)
        await device.sdk.start()
        await device.sdk.set_contact(FIELD, "ann@example.com")
        await device.sdk.set_push_token(token)
        message = pushes.send(
            exchange, place.app, subject="Sale", msg="Today", push={"image": "https://x.example/i"}
        )
        shown = read(await pushes.payload_at(exchange, token))
        assert shown is not None
        assert (shown.title, shown.body) == ("Sale", "Today")
        assert shown.tracked is not None
        await device.sdk.click(shown.tracked)
        assert await pushes.was_clicked(exchange, message)
        devices.assert_unsurprised()


@pytest.mark.parametrize("kind", ["android", "ios"])
async def test_a_push_and_its_message_in_the_inbox_say_the_same_ids(exchange: Served, kind: str) -> None:
    """Apps look in the inbox for what they were told with the push: iOS hands them the campaign (EMSPushV3Internal.m at
    3.10.2, EMSNotificationInformation), Android the message's id too (NotificationCommandFactory.kt at 3.11.0), and
    neither SDK tags a message whose id it does not find (DefaultMessageInboxInternal.kt, EMSInboxV3.m).
    """
    async with at(exchange) as place:
        devices = Devices(place)
        device = devices.new(kind)
        token = pushes.device_token(exchange, kind)
        await device.sdk.start()
        await device.sdk.set_push_token(token)
        sent = pushes.send(exchange, place.app, subject="Sale", msg="Today")
        payload = await pushes.payload_at(exchange, token)
        ems = payload["ems"] if kind == "ios" else json.loads(payload["ems"])
        message = await pushes.until(device.sdk.fetch_inbox)
        assert (message[0]["id"], message[0]["campaignId"]) == (sent, ems["multichannelId"])
        assert kind == "ios" or payload["message_id"] == sent
        devices.assert_unsurprised()


async def test_after_a_switch_of_apps_only_the_new_one_reaches_the_device(exchange: Served) -> None:
    """The multiplatform SDK never tells its push token again: it went along."""
    async with at(exchange, "emarsys-v4") as place:
        devices = Devices(place)
        device = devices.new("v4")
        token = pushes.device_token(exchange, "android")
        await device.sdk.start()
        await device.sdk.set_push_token(token)
        assert await device.sdk.switch_app(place.other)
        old = pushes.send(exchange, place.app, subject="Old", msg="no longer")
        pushes.send(exchange, place.other, subject="New", msg="from now on")
        shown = payloads.v4_android(await pushes.payload_at(exchange, token))
        assert shown is not None
        assert shown.title == "New"
        assert not exchange.deliveries(old)
        devices.assert_unsurprised()
