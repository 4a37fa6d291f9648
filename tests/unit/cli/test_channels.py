"""Channels: to the provider where there are credentials, to the sandbox otherwise, and further ones by a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.wiring.channels import gateway_configs, push_hosts_of, sandboxed_channels
from domain.deliveries.channel import APNS, EMAIL, FCM, SMS, WEBPUSH
from gateways.registry import build, channels
from infra.configuration.datafolder import DataFolder
from infra.sandbox import Sandbox
from infra.secrets import Keyring, open_keyring
from infra.settings import Keys, SettingsError, load

TWILIO = {
    "MSGXC_TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "MSGXC_TWILIO_AUTH_TOKEN": "t0ken",
    "MSGXC_TWILIO_FROM": "+15005550006",
}


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    folder = DataFolder(tmp_path / "data").prepare()
    return open_keyring(folder, Keys(jwt=None, id=None, master=None), now=datetime(2026, 1, 1, tzinfo=UTC))


async def test_channels_without_credentials_go_to_the_sandbox(tmp_path: Path, keyring: Keyring) -> None:
    """Each of the five gets a gateway that can be built, pointed at a loopback port; a configured one its own."""
    settings = load(TWILIO)
    assert sandboxed_channels(settings) == {APNS, FCM, WEBPUSH, EMAIL}
    async with Sandbox(tmp_path / "sandbox") as sandbox:
        configs = gateway_configs(settings, keyring, sandbox=sandbox.environment())
    assert set(configs) == {APNS, FCM, WEBPUSH, SMS, EMAIL}
    assert configs[APNS]["url"].startswith("https://127.0.0.1:") or "localhost" in configs[APNS]["url"]
    assert (configs[SMS]["auth_token"], configs[SMS].get("url")) == ("t0ken", None)
    assert "ca_file" not in configs[SMS]
    for channel, config in configs.items():
        gateway = build(channel, config)
        assert gateway.channel == channel
        await gateway.aclose()


def test_without_a_sandbox_only_configured_channels_are_there(keyring: Keyring) -> None:
    """A role alone, in production, never sends to a sandbox that is not its own."""
    assert set(gateway_configs(load(TWILIO), keyring, sandbox=None)) == {SMS}


async def test_browsers_are_enlisted_where_the_gateway_would_send(tmp_path: Path) -> None:
    """The operator's list; the sandbox's host where that stands in; a list that cannot be stops the start."""
    settings = load({"MSGXC_WEBPUSH_HOSTS": "push.example.org"})
    assert push_hosts_of(settings, sandbox=None).names("https://push.example.org/a")
    assert not push_hosts_of(settings, sandbox=None).names("https://evil.example/a")
    assert push_hosts_of(load({}), sandbox=None).names("https://fcm.googleapis.com/fcm/send/a")
    async with Sandbox(tmp_path / "sandbox") as sandbox:
        hosts = push_hosts_of(load({}), sandbox=sandbox.environment())
        assert hosts.names(f"https://{sandbox.webpush_host}/a")
        assert not hosts.names("https://fcm.googleapis.com/fcm/send/a")
    with pytest.raises(SettingsError, match="MSGXC_WEBPUSH_HOSTS"):
        push_hosts_of(load({"MSGXC_WEBPUSH_HOSTS": "push..example.org"}), sandbox=None)


def test_a_further_channel_is_configured_by_a_file(tmp_path: Path, keyring: Keyring) -> None:
    """MSGXC_CHANNELS_FILE is a JSON object by channel; anything else is refused with what to write."""
    file = tmp_path / "channels.json"
    file.write_text('{"pigeon": {"loft": "north"}}', encoding="utf-8")
    settings = load({"MSGXC_CHANNELS_FILE": str(file)})
    assert gateway_configs(settings, keyring, sandbox=None) == {"pigeon": {"loft": "north"}}
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(SettingsError, match="MSGXC_CHANNELS_FILE"):
        gateway_configs(settings, keyring, sandbox=None)


def test_every_gateway_of_the_project_is_known_here() -> None:
    """A channel that ships is either configured by settings of its own or by the file."""
    assert set(channels()) == {APNS, FCM, WEBPUSH, SMS, EMAIL}
