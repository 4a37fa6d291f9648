"""After a replay, one command tells the device's whole story: who it is, whose it was, what it did."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.served import ROOT, Served
from tests.replays.devices import FIELD, MAKERS
from tests.replays.places import Devices
from tests.replays.served_place import at, device_events

COMMAND_S_MAX = 60.0


def show(exchange: Served, *words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "events", "show", *words, "--json"],
        cwd=ROOT,
        env=exchange.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


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
        kinds = [fact["topic"].rpartition(".")[0] for fact in story]
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
