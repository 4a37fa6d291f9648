"""After a replay, one command tells the device's whole story: who it is, whose it was, what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.served import ROOT, Served
from tests.replays.places import Devices
from tests.replays.sdks.devices import FIELD, MAKERS
from tests.replays.served_place import at, device_events

COMMAND_S_MAX = 60.0


def command(exchange: Served, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "events", "show", *words],
        cwd=ROOT,
        env=exchange.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=True,
    )


def show(exchange: Served, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command(exchange, *words, "--json").stdout.splitlines()]


def kinds_by_client(story: list[dict[str, Any]]) -> dict[int, list[str]]:
    """What the story tells of each of the device's clients, by its number."""
    found: dict[int, list[str]] = {}
    for fact in story:
        found.setdefault(fact["device"]["number"], []).append(fact["topic"].rpartition(".")[0])
    return found


@pytest.mark.parametrize("kind", sorted(MAKERS))
async def test_events_show_tells_a_devices_whole_story(exchange: Served, kind: str) -> None:
    """Under the name that the device gives itself, in order, and without what is personal."""
    async with at(exchange) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        await device.sdk.set_contact(FIELD, "ann@example.com")
        await device.sdk.set_push_token("the-push-token")
        await device.sdk.track("bought", {"sku": "a-sku"})
        await device.sdk.clear_push_token()
        await device.sdk.clear_contact()
        await device.sdk.stop()
        devices.assert_unsurprised()

        story = show(exchange, f"client:{place.app}/{device.client_id}")
        [kinds] = kinds_by_client(story).values()
        assert kinds[0] == "client.registered"
        assert kinds.index("client.address-set") < kinds.index("client.address-retired")
        linked = [
            fact["data"]["contact"] for fact in story if fact["topic"].startswith("client.contact-linked")
        ]
        assert len(set(linked)) >= 2
        assert device_events(story) == device.events_sent()
        assert {"session:start", "bought", "session:end"} <= set(device_events(story))
        for personal in ("ann@example.com", "the-push-token", "a-sku"):
            assert personal not in json.dumps(story)


@pytest.mark.parametrize("kind", sorted(MAKERS))
async def test_a_story_goes_on_in_the_app_that_the_device_switched_to(exchange: Served, kind: str) -> None:
    """And begins in the one that it came from: it is the same by either name."""
    async with at(exchange) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        await device.sdk.set_push_token("the-push-token")
        former = device.state()["client"]
        assert await device.sdk.switch_app(place.other)
        await device.sdk.set_contact(FIELD, "bob@example.com")
        await device.sdk.track("bought")
        devices.assert_unsurprised()

        story = show(exchange, f"client:{place.other}/{device.client_id}")
        # A contact's number and the log of interactions may come between the two looks.
        other_name = show(exchange, f"client:{place.app}/{device.client_id}")
        assert [fact for fact in other_name if fact in story] == story
        by_client = kinds_by_client(story)
        assert {fact["device"]["app"] for fact in story} == {place.app, place.other}
        assert {"client.address-set", "client.address-retired", "refresh.opened"} <= set(by_client[1])
        if not device.is_native:  # whose SDKs forget where they come from
            assert {"client.moved", "refresh.ended"} <= set(by_client[1])
        assert "client.registered" in by_client[max(by_client)]
        assert "bought" in device_events(story)
        clients = {fact["device"]["client"] for fact in story}
        assert {UUID(former).hex, UUID(device.state()["client"]).hex} <= clients

        text = command(exchange, f"client:{place.app}/{device.client_id}", "--lines").stdout.splitlines()
        assert f"is {len(by_client)} clients" in text[0]
        assert any("came from 1" in line for line in text) is not device.is_native
        assert {line[0] for line in text if "client.registered" in line} == {str(n) for n in by_client}


async def test_a_device_that_registered_twice_is_told_with_both_its_clients(exchange: Served) -> None:
    """The answer to the first was lost: the contact and the push token are the second's."""
    async with at(exchange) as place:
        path, headers = f"/v3/apps/{place.app}/client", {"x-client-id": "reinstalled"}
        await place.http.post(path, json={"platform": "android"}, headers=headers)
        answer = await place.http.post(path, json={"platform": "android"}, headers=headers)
        headers["x-client-state"] = answer.headers["x-client-state"]
        contact = {"contactFieldId": FIELD, "contactFieldValue": "ann@example.com"}
        answer = await place.http.post(f"{path}/contact", json=contact, headers=headers)
        headers["x-client-state"] = answer.headers["x-client-state"]
        token = {"pushToken": "a-token"}
        assert (await place.http.put(f"{path}/push-token", json=token, headers=headers)).status_code == 204

        by_client = kinds_by_client(show(exchange, f"client:{place.app}/reinstalled"))
        assert "client.address-set" not in by_client[1]
        assert {"client.registered", "client.contact-linked", "client.address-set", "refresh.opened"} <= set(
            by_client[2]
        )
