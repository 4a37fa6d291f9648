"""The demo: an open thread, one contact with an address on every channel, and an app for SDKs, made by the ordinary
commands.

It is made once, in an empty log, and finished if a start was cut short.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from commands.apps import RegisterApp
from commands.bus import Bus
from commands.clients import Enlist
from commands.contacts import PutContact
from commands.threads import OpenThread, Subscribe
from domain.app_settings import AppSettings
from domain.context import DEFAULT_REALM, Context
from domain.deliveries.channel import APNS, FCM, WEBPUSH
from domain.thread import Settings
from infra.sandbox import Sandbox

TID = UID = "demo"
APP = "DEMO-APP"
EMAIL_FIELD = 3
"""What suites call the e-mail address by; the app's v4 clients name their contacts by it."""
CELL = "+15005550009"
EMAIL = "demo@example.org"
"""A number that belongs to nobody, and a domain kept for examples (RFC 2606)."""


class Demo:
    """marker: a file that is there while the demo is being made."""

    def __init__(self, bus: Bus, sandbox: Sandbox, *, marker: Path, vapid_public_key: str) -> None:
        self._bus, self._sandbox, self._marker = bus, sandbox, marker
        self._vapid_public_key = vapid_public_key
        self._context = Context(actor="demo")

    async def make(self, *, log_is_empty: bool) -> bool:
        """Whether anything was made."""
        if not log_is_empty and not self._marker.exists():
            return False
        self._marker.touch(mode=0o600)
        await self._do(OpenThread(tid=TID, settings=Settings(name="Demo", owner=UID, open_publish=True)))
        await self._do(PutContact(uid=UID, email=EMAIL, cell=CELL, locale="en", time_zone="UTC"))
        await self._do(Subscribe(tid=TID, uid=UID))
        settings = AppSettings(
            merchant=DEFAULT_REALM, name="Demo", default_contact_field=EMAIL_FIELD, open_id_trusted=True
        )
        await self._do(RegisterApp(code=APP, settings=settings))
        for enlist in (self._iphone, self._android, self._browser):
            await self._do(await enlist())
        self._marker.unlink()
        return True

    async def _do(self, command: msgspec.Struct) -> None:
        await self._bus.execute(command, self._context)

    async def _iphone(self) -> Enlist:
        token = await self._sandbox.mint_device()
        return Enlist(uid=UID, channel=APNS, identity=token, address=token)

    async def _android(self) -> Enlist:
        token = await self._sandbox.mint_registration()
        return Enlist(uid=UID, channel=FCM, identity=token, address=token)

    async def _browser(self) -> Enlist:
        made = await self._sandbox.mint_subscription(self._vapid_public_key)
        keys = {"p256dh": made.p256dh, "auth": made.auth}
        address = msgspec.json.encode(
            {"endpoint": made.endpoint, "expirationTime": None, "keys": keys}
        ).decode()
        return Enlist(uid=UID, channel=WEBPUSH, identity=made.endpoint, address=address)


def vapid_public_key(private_pem: bytes) -> str:
    """The application server key that browsers are given (RFC 8292, section 3.2): the raw point, base64url."""
    import base64

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    key = load_pem_private_key(private_pem, password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()
