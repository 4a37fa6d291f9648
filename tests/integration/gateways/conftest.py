"""One sandbox for all gateways, its rules cleared before each test; a gateway for each channel, built from settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.deliveries.outcome import Outcome
from domain.people.leaving import leaving_key
from gateways.port import Gateway, GatewayConfig, Target
from gateways.registry import build, channels
from infra.sandbox import Sandbox
from infra.sandbox.rules import Action
from tests.fixtures.notices import notice, target

RULED_BY = {"sendgrid": "email", "smtp": "email"}
SENDER = "Example <news@example.org>"
LEAVING_KEY = leaving_key(b"an id key for tests, of 32 bytes")


def make_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Providers:
    """The sandbox and how a gateway is configured for each of its providers."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.rules, self.books = sandbox, sandbox.rules, sandbox.books
        self.vapid_key = make_key()
        kept, ca = sandbox.credentials, {"ca_file": str(sandbox.ca_file)}
        environment = sandbox.environment()
        self.configs: dict[str, dict[str, Any]] = {
            "apns": {
                "key_pem": Path(environment["MSGXC_APNS_KEY_FILE"]).read_text(),
                "key_id": kept.apns_key_id,
                "team_id": kept.apns_team_id,
                "topic": kept.apns_topic,
                "url": sandbox.urls.apns,
                **ca,
            },
            "fcm": {
                "credentials_info": json.loads(Path(environment["MSGXC_FCM_CREDENTIALS_FILE"]).read_text()),
                "url": sandbox.urls.fcm,
                **ca,
            },
            "webpush": {
                "vapid_private_key_pem": self.vapid_key,
                "subject": "mailto:push@example.org",
                "allowed_hosts": [sandbox.webpush_host],
                **ca,
            },
            "sms": {
                "account_sid": kept.twilio_account_sid,
                "auth_token": kept.twilio_auth_token,
                "sender": kept.twilio_sender,
                "url": sandbox.urls.twilio,
                "status_callback_url": "https://exchange.example/twilio",
                **ca,
            },
            "sendgrid": {
                "api_key": kept.sendgrid_api_key,
                "url": sandbox.urls.sendgrid,
                "sender": SENDER,
                "unsubscribe_url": "https://exchange.example/leave/",
                "unsubscribe_key": LEAVING_KEY,
                **ca,
            },
            "smtp": {"url": sandbox.urls.smtp, "sender": SENDER, **ca},
        }

    def config(self, provider: str, **changes: Any) -> GatewayConfig:
        """For `build`; sendgrid and smtp are both the e-mail channel."""
        fields = {**self.configs[provider], **changes}
        channel = "email" if provider in {"sendgrid", "smtp"} else provider
        return msgspec.convert(
            {provider: fields} if channel == "email" else fields, channels()[channel].config
        )

    def gateway(self, provider: str, **changes: Any) -> Gateway:
        channel = "email" if provider in {"sendgrid", "smtp"} else provider
        return build(channel, self.config(provider, **changes))

    async def address(self, provider: str) -> str:
        """A new address that the provider takes."""
        match provider:
            case "apns":
                return await self.sandbox.mint_device()
            case "fcm":
                return await self.sandbox.mint_registration()
            case "webpush":
                minted = await self.sandbox.mint_subscription()
                keys = {"p256dh": minted.p256dh, "auth": minted.auth}
                return json.dumps({"endpoint": minted.endpoint, "expirationTime": None, "keys": keys})
            case "sms":
                return f"+1555{uuid4().int % 10**7:07}"
            case _:
                return f"{uuid4().hex}@example.org"

    async def targets(self, provider: str, count: int = 1) -> list[Target]:
        return [target(await self.address(provider)) for _ in range(count)]

    def tell(self, provider: str, action: Action, *targets: Target, **more: Any) -> None:
        """What the provider does with the next request to each of these; SMTP after DATA unless told otherwise."""
        if provider == "smtp":
            more.setdefault("stage", "data")
        for one in targets:
            self.rules.add(RULED_BY.get(provider, provider), action, exact=self.matched(one.address), **more)

    def matched(self, address: str) -> str:
        """What a rule calls an address: of a web push, its endpoint."""
        return str(json.loads(address)["endpoint"]) if address.startswith("{") else address

    async def last_request(self, target: Target) -> dict[str, Any]:
        """The request that carried the newest message to this target: headers, payload, status."""
        items = await self.books.find("address = ?", (self.matched(target.address),), limit=1)
        request = await self.books.request(items[0].request)
        assert request is not None
        return request

    async def arrived(self, message: UUID) -> int:
        _, total = await self.books.messages(message_id=message.hex)
        return total


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def providers(sandbox: Sandbox) -> Providers:
    sandbox.rules.clear()
    return Providers(sandbox)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateways(sandbox: Sandbox) -> AsyncIterator[dict[str, Gateway]]:
    """Kept over tests, with their connections and tokens, as in production."""
    providers = Providers(sandbox)
    opened = {provider: providers.gateway(provider) for provider in providers.configs}
    await opened["fcm"].send(
        notice(), await providers.targets("fcm"), deadline_s=20.0
    )  # its token is fetched
    yield opened
    for gateway in opened.values():
        await gateway.aclose()


Send = Callable[..., Any]


@pytest.fixture
def send(gateways: dict[str, Gateway]) -> Send:
    """Sends through a provider's kept gateway: provider, targets, then the content and fields of the notice."""

    async def sending(
        provider: str, targets: Sequence[Target], *content: Any, deadline_s: float = 5.0, **fields: Any
    ) -> Sequence[Outcome]:
        return await gateways[provider].send(notice(*content, **fields), targets, deadline_s=deadline_s)

    return sending
