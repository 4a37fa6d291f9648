"""A channel is one module: what is found, how it is built, and that no configuration shows its secrets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

import gateways
from domain.deliveries.channel import BUILT_IN, WEBSOCKET
from domain.deliveries.outcome import Accepted
from gateways.port import Gateway, GatewayConfig
from gateways.registry import build, channels
from tests.fixtures.notices import notice, target

PAGER = '''
"""A seventh channel: beeps."""

from domain.deliveries.outcome import Accepted
from gateways.port import Channel, GatewayConfig


class PagerConfig(GatewayConfig, frozen=True, kw_only=True):
    SECRET = frozenset({"code"})
    code: str
    beeps: int = 1


class PagerGateway:
    channel, slice_size = "pager", 10

    def __init__(self, config):
        self.config = config

    async def send(self, notice, targets, *, deadline_s):
        return [Accepted("beep" * self.config.beeps) for _ in targets]

    def check(self, content):
        pass

    async def aclose(self):
        pass


CHANNEL = Channel("pager", PagerConfig, PagerGateway)
'''


@pytest.fixture
def pager(tmp_path: Path) -> Iterator[None]:
    """One more module in the package, and no other file touched."""
    (tmp_path / "pager.py").write_text(PAGER)
    gateways.__path__.append(str(tmp_path))
    yield
    gateways.__path__.remove(str(tmp_path))
    sys.modules.pop("gateways.pager", None)


def test_every_channel_has_a_module() -> None:
    """All that ship but the websocket channel, which is a feed."""
    assert set(channels()) == set(BUILT_IN) - {WEBSOCKET}
    assert all(name == channel.name for name, channel in channels().items())


async def test_a_seventh_channel_is_one_module(pager: None) -> None:
    """Found, configured, built and used like the others."""
    assert "pager" in channels()
    gateway: Gateway = build("pager", {"code": "s3cret", "beeps": 2})
    assert (gateway.channel, gateway.slice_size) == ("pager", 10)
    assert await gateway.send(notice(), [target("1")], deadline_s=1.0) == [Accepted("beepbeep")]
    assert "s3cret" not in repr(gateway.config)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("channel", "config", "complaint"),
    [
        ("pigeon", {}, "no gateway for the channel 'pigeon'"),
        ("registry", {}, "no gateway"),
        ("../x", {}, "no gateway"),
        ("apns", {"key_id": 7}, "apns: Object missing required field|apns: Expected"),
        (
            "apns",
            {"key_pem": "x", "key_id": "a", "team_id": "b", "topic": "c"},
            r"the APNs key is no P-256 key.*\.p8",
        ),
        ("fcm", {"credentials_info": {}}, "project_id"),
        ("webpush", {"vapid_private_key_pem": "x", "subject": "push@example.org"}, "mailto:name@host"),
        ("webpush", {"vapid_private_key_pem": "x", "subject": "mailto:a@b.org"}, "VAPID key"),
        ("email", {}, "SendGrid's API key or the URL"),
        ("email", {"sendgrid": {"api_key": "k", "sender": "nobody"}}, "write Example <news@example.org>"),
        ("sms", {"account_sid": "AC", "auth_token": "t"}, "sms: Object missing required field"),
    ],
)
def test_a_configuration_that_cannot_work(channel: str, config: dict[str, object], complaint: str) -> None:
    """One line that says what to write."""
    with pytest.raises(ValueError, match=complaint) as refused:
        build(channel, config)
    assert "\n" not in str(refused.value)


def secrets_of(config: type[GatewayConfig]) -> Sequence[str]:
    words = ("key_pem", "secret", "token", "password", "api_key", "credentials", "url")
    return [name for name in config.__struct_fields__ if any(word in name for word in words)]


def test_no_configuration_shows_a_secret() -> None:
    """Neither as text nor to rich, which prints tracebacks with values."""
    apns = channels()["apns"].config(key_pem="KEYPEM", key_id="K", team_id="T", topic="org.x")
    fcm = channels()["fcm"].config(credentials_info={"private_key": "KEYPEM"})
    webpush = channels()["webpush"].config(vapid_private_key_pem="KEYPEM", subject="mailto:a@b.c")
    sms = channels()["sms"].config(account_sid="AC", auth_token="KEYPEM", sender="+1")
    both = {
        "sendgrid": {"api_key": "KEYPEM", "sender": "a@b.c"},
        "smtp": {"url": "smtp://u:KEYPEM@h", "sender": "a@b.c"},
    }
    email = msgspec.convert(both, channels()["email"].config)
    for config in (apns, fcm, webpush, sms, email):
        assert "KEYPEM" not in repr(config)
        assert "KEYPEM" not in str(config)
        assert "KEYPEM" not in f"{config.__rich_repr__()}"
        assert "***" in repr(config)


def test_looking_for_channels_is_cheap() -> None:
    """No client library is imported until a gateway is built."""
    heavy = (
        "aiohttp",
        "firebase_admin",
        "google.auth",
        "pywebpush",
        "twilio",
        "sendgrid",
        "aioapns",
        "aiosmtplib",
    )
    code = (
        f"import gateways.registry as r, sys; r.channels(); print([m for m in {heavy} if m in sys.modules])"
    )
    root = Path(gateways.__file__).parent.parent
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
