"""How apps send, as the gateways are told: settings, keys and links put together, and nothing asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from domain.app import AppFacts
from domain.app_settings import AppSettings, PushSettings
from domain.deliveries.channel import APNS, FCM, WEBPUSH
from gateways.port import EventLinks, Links, Target
from infra.senders.sending import DirectorySending
from infra.senders.vapid import DerivedVapidKeys
from processes.directories import Toll
from tests.memory.ports.keys import MemoryKeyStore, Vault

SHOP = AppFacts(
    UUID(int=7), "Shop", AppSettings(merchant="main", push=PushSettings(apns_topic="org.example.shop"))
)
DOMAIN = AppFacts(UUID(int=8), "shop.example", AppSettings(merchant="main", kind="web-domain"))


class Known:
    """processes.directories.AppDirectory over a dictionary."""

    def __init__(self, *apps: AppFacts) -> None:
        self.apps = {app.code.casefold(): app for app in apps}

    def known(self, code: str) -> AppFacts | None:
        return self.apps.get(code.casefold())

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        return self.apps.get(code.casefold())

    async def refresh(self, code: str) -> None:
        """Nothing is remembered."""

    def change(self, app: AppFacts, **settings: object) -> None:
        changed = msgspec.structs.replace(app.settings, **settings)
        self.apps[app.code.casefold()] = AppFacts(app.id, app.code, changed)


class NoLinks:
    def of(
        self, message: UUID, campaign: str, target: Target, channel: str, actions: Sequence[str]
    ) -> EventLinks:
        return EventLinks("", "")


class MonthlyLinks:
    """infra.senders.sending.LinksOfApps."""

    def __init__(self) -> None:
        self.month: Links = NoLinks()

    async def links(self, app: AppFacts) -> Links | None:
        return self.month if app.settings.kind == "web-domain" else None


def sending(known: Known, links: MonthlyLinks | None = None) -> DirectorySending:
    return DirectorySending(known, DerivedVapidKeys(MemoryKeyStore(Vault())), sid_key=b"k", links=links)


async def test_an_app_sends_as_its_settings_say() -> None:
    """Whatever the case of its code; web push alone needs its key."""
    found = await sending(Known(SHOP)).sender("main", "SHOP", APNS)
    assert found is not None
    assert (found.code, found.style, found.apns_topic) == ("Shop", "emarsys-v3", "org.example.shop")
    assert (found.vapid_key_pem, found.sid_key, found.links) == ("", b"k", None)
    for_browsers = await sending(Known(DOMAIN)).sender("main", "shop.example", WEBPUSH)
    assert for_browsers is not None
    assert for_browsers.style == "doppler"
    assert "PRIVATE KEY" in for_browsers.vapid_key_pem
    assert "PRIVATE KEY" not in repr(for_browsers)


async def test_who_may_not_send_is_nobody() -> None:
    """No such app, one of another realm, a web domain that is switched off."""
    known = Known(SHOP, DOMAIN)
    made = sending(known)
    assert await made.sender("main", "nobody", FCM) is None
    assert await made.sender("other", "Shop", FCM) is None
    assert await made.sender("main", "shop.example", FCM) is not None
    known.change(DOMAIN, is_push_feature_enabled=False)
    assert await made.sender("main", "shop.example", FCM) is None
    known.change(SHOP, is_push_feature_enabled=False)
    assert await made.sender("main", "Shop", FCM) is not None


async def test_the_answer_is_the_same_object_until_something_changes() -> None:
    """Settings, or the key that links are made with."""
    known, links = Known(DOMAIN), MonthlyLinks()
    made = sending(known, links)
    first = await made.sender("main", "shop.example", WEBPUSH)
    assert await made.sender("main", "shop.example", WEBPUSH) is first
    known.change(DOMAIN, name="Shop")
    second = await made.sender("main", "shop.example", WEBPUSH)
    assert second is not first
    links.month = NoLinks()
    third = await made.sender("main", "shop.example", WEBPUSH)
    assert third is not second
    assert third is not None
    assert third.links is links.month
