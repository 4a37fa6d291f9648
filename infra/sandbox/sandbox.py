"""The sandbox as one thing: all providers' ports, their credentials, the books, the rules, the demo page.

Owns its folder and its ports on 127.0.0.1, and closes what it opens. Never reaches out, except for callbacks it is
told to post to loopback addresses.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import msgspec
from starlette.types import ASGIApp

from infra.sandbox.books import Books
from infra.sandbox.desk import Desk, Provider
from infra.sandbox.keyring import Keyring, Secrets
from infra.sandbox.page import DemoToken, page_app
from infra.sandbox.providers.apns import Apns
from infra.sandbox.providers.fcm import Fcm
from infra.sandbox.providers.receipts import Receipts
from infra.sandbox.providers.sendgrid import SendGrid
from infra.sandbox.providers.smtp import MailServer
from infra.sandbox.providers.twilio import Twilio
from infra.sandbox.providers.webpush import Subscription, WebPush, mint
from infra.sandbox.rules import Rules
from infra.sandbox.wire.listener import Listener

SUBSCRIPTIONS_MAX = 100_000
"""Minted browsers kept in memory, about 400 bytes each."""


class Urls(msgspec.Struct, frozen=True):
    """Where each provider is played. webpush: the origin of minted endpoints, also the VAPID `aud`."""

    apns: str
    fcm: str
    webpush: str
    twilio: str
    sendgrid: str
    smtp: str


class PushSubscription(msgspec.Struct, frozen=True):
    """What a browser would hand to the page: the fields of PushSubscription.toJSON(), keys base64url."""

    endpoint: str
    p256dh: str
    auth: str


class Sandbox:
    """Open with `async with Sandbox(folder) as sandbox`, or start() and aclose().

    folder: keys, credentials and books live there (mode 0700) and are found again. demo_token: gives the page
    what it publishes with; None: the page only shows. clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        demo_token: DemoToken | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.rules = Rules()
        self._demo_token, self._clock = demo_token, clock
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Open everything. What is opened when this fails is closed again."""
        async with AsyncExitStack() as opening:
            self.keyring = Keyring(self.folder)
            self.books = await Books.open(self.folder / "books.sqlite")
            opening.push_async_callback(self.books.aclose)
            self.desk = Desk(self.books, self.rules)
            opening.push_async_callback(self.desk.aclose)
            await self._make_providers()
            await self._listen(opening)
            self.app: ASGIApp = page_app(self, self._demo_token)
            self._open = opening.pop_all()

    async def aclose(self) -> None:
        await self._open.aclose()

    @property
    def credentials(self) -> Secrets:
        return self.keyring.secrets

    @property
    def ca_file(self) -> Path:
        """Trust this to reach the sandbox over TLS."""
        return self.keyring.ca_file

    def environment(self) -> dict[str, str]:
        """The settings that point every gateway here, by their names in the environment."""
        kept, files = self.keyring.secrets, self.keyring
        return {
            "MSGXC_CA_FILE": str(files.ca_file),
            "MSGXC_APNS_KEY_FILE": str(files.apns_key_file),
            "MSGXC_APNS_KEY_ID": kept.apns_key_id,
            "MSGXC_APNS_TEAM_ID": kept.apns_team_id,
            "MSGXC_APNS_TOPIC": kept.apns_topic,
            "MSGXC_APNS_URL": self.urls.apns,
            "MSGXC_FCM_CREDENTIALS_FILE": str(files.service_account_file),
            "MSGXC_FCM_URL": self.urls.fcm,
            "MSGXC_WEBPUSH_HOSTS": self.webpush_host,
            "MSGXC_TWILIO_ACCOUNT_SID": kept.twilio_account_sid,
            "MSGXC_TWILIO_AUTH_TOKEN": kept.twilio_auth_token,
            "MSGXC_TWILIO_FROM": kept.twilio_sender,
            "MSGXC_TWILIO_URL": self.urls.twilio,
            "MSGXC_SENDGRID_API_KEY": kept.sendgrid_api_key,
            "MSGXC_SENDGRID_WEBHOOK_KEY": self.sendgrid.events_public_key,
            "MSGXC_SENDGRID_URL": self.urls.sendgrid,
            "MSGXC_SMTP_URL": self.urls.smtp,
        }

    @property
    def webpush_host(self) -> str:
        """host:port of minted endpoints, for the web-push allow-list."""
        return self.urls.webpush.removeprefix("https://")

    async def mint_subscription(self, application_server_key: str = "") -> PushSubscription:
        """A new browser, able to read what is pushed to it; kept over restarts.

        application_server_key: the VAPID public key (base64url) it takes pushes from, "": from any.
        """
        self._check_room(self.webpush.subscriptions)
        made = mint(secrets.token_urlsafe(24), application_server_key)
        await self.books.keep("subscription", made.id, made)
        self.webpush.subscriptions[made.id] = made
        return PushSubscription(self.webpush.endpoint(made.id), made.p256dh, made.auth)

    async def mint_device(self, owner: str = "") -> str:
        """An APNs device token. owner: the topic it was made for, "": the sandbox's own."""
        token = secrets.token_hex(32)
        await self._keep_device(
            "apns-device", token, owner or self.keyring.secrets.apns_topic, self._apns_devices
        )
        return token

    async def mint_registration(self, owner: str = "") -> str:
        """An FCM registration token. owner: the project it was made for, "": the sandbox's own."""
        token = f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(100)}"
        await self._keep_device(
            "fcm-device", token, owner or self.keyring.secrets.fcm_project, self._fcm_devices
        )
        return token

    async def opt_out(self, cell: str, *, out: bool = True) -> None:
        """The person texted STOP (or START): what is sent there is refused with 21610."""
        await self.twilio.opt_out(cell, out=out)

    async def _make_providers(self) -> None:
        kept, files, clock = self.keyring.secrets, self.keyring, self._clock
        self._apns_devices: dict[str, str] = await self.books.kept("apns-device")
        self._fcm_devices: dict[str, str] = await self.books.kept("fcm-device")
        opted_out = {cell for cell, out in (await self.books.kept("opt-out")).items() if out}
        subscriptions = msgspec.convert(await self.books.kept("subscription"), dict[str, Subscription])
        self.apns = Apns(
            key=files.apns_key.public_key(),
            key_id=kept.apns_key_id,
            team_id=kept.apns_team_id,
            topic=kept.apns_topic,
            devices=self._apns_devices,
            clock=clock,
        )
        self.fcm = Fcm(
            key=files.service_account_key.public_key(),
            client_email=kept.fcm_client_email,
            project=kept.fcm_project,
            token_secret=kept.fcm_token_secret,
            devices=self._fcm_devices,
            clock=clock,
        )
        self.webpush = WebPush(subscriptions, clock=clock)
        self.twilio = Twilio(
            account_sid=kept.twilio_account_sid,
            auth_token=kept.twilio_auth_token,
            sender=kept.twilio_sender,
            opted_out=opted_out,
            books=self.books,
            clock=clock,
        )
        self.sendgrid = SendGrid(api_key=kept.sendgrid_api_key, events_key=files.events_key, clock=clock)
        self.smtp = MailServer(files, self.books, self.rules)
        self.receipts = Receipts(self.books, self.twilio, self.sendgrid, clock=clock)

    async def _listen(self, opening: AsyncExitStack) -> None:
        wanted = self.keyring.secrets.ports
        providers: list[Provider] = [self.apns, self.fcm, self.webpush, self.twilio, self.sendgrid]
        listeners: dict[str, Listener] = {}
        for provider in providers:
            listener = Listener(provider, self.desk, self.keyring, h2_only=provider is self.apns)
            await listener.start(wanted.get(provider.name, 0))
            opening.push_async_callback(listener.aclose)
            listeners[provider.name] = listener
        await self.smtp.start(wanted.get("smtp", 0))
        opening.push_async_callback(self.smtp.aclose)
        self.urls = Urls(smtp=self.smtp.url, **{name: listener.url for name, listener in listeners.items()})
        self.webpush.origin = self.urls.webpush
        self.fcm.token_uri = self.urls.fcm + "/token"
        self.keyring.write_service_account(self.fcm.token_uri)
        ports = {name: listener.port for name, listener in listeners.items()}
        self.keyring.keep_ports({**ports, "smtp": self.smtp.port})

    async def _keep_device(self, kind: str, token: str, owner: str, devices: dict[str, str]) -> None:
        self._check_room(devices)
        await self.books.keep(kind, token, owner)
        devices[token] = owner

    def _check_room(self, minted: dict[str, str] | dict[str, Subscription]) -> None:
        if len(minted) >= SUBSCRIPTIONS_MAX:
            raise ValueError(f"the sandbox keeps {SUBSCRIPTIONS_MAX} minted addresses of a kind, no more")
