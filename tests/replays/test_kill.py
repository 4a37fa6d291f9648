"""The exchange dies under living devices and comes back: they lose nothing, and it lost nothing of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.served import served
from tests.replays.places import Devices
from tests.replays.sdks.devices import FIELD, MAKERS
from tests.replays.served_place import at


@pytest.mark.long
async def test_devices_go_on_after_the_exchange_was_killed(tmp_path: Path) -> None:
    """SIGKILL to all of it. What was told meanwhile waits on the devices and arrives; who they are is known."""
    with served(tmp_path / "exchange") as exchange:
        async with at(exchange) as place:
            devices = Devices(place)
            for kind in sorted(MAKERS):
                device = devices.new(kind)
                await device.sdk.start()
                await device.sdk.set_contact(FIELD, f"{kind}@example.com")
                await device.sdk.set_push_token(f"token-of-{kind}")
            exchange.kill()
            for device in devices.made:
                with device.surprises.announced("retried"):
                    await device.sdk.track("while it was away")
            exchange.start()
            for device in devices.made:
                await device.sdk.come_online()
                assert device.events_sent()[-1] == "while it was away"
                device.restart()
                await device.sdk.start()
                assert device.state()["contactField"]["contactFieldValue"].endswith("@example.com")
                assert device.state()["pushToken"]
                assert not device.wire.sent("POST", "/client/contact-token")
            devices.assert_unsurprised()
