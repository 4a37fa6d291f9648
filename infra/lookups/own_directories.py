"""What the exchange knows of apps, merchants and contacts by itself, where no other service is asked.

Implements processes.directories on our own log. Never speaks to anybody else.
"""

from __future__ import annotations

from commands.bus import Bus
from commands.contact_numbers import NumberContact
from commands.port import EventStore
from domain.app import App, AppFacts, is_code
from domain.context import Context
from domain.ids import Ids
from infra.apps.merchants import WithApps
from processes.directories import Anonymous, ContactKey, MerchantSettings, assert_key

ACTOR = "contact-directory"


class OwnContacts:
    """processes.directories.ContactData. A person known by two fields is two contacts: nobody has told us more.

    An encrypted value is taken as it is, since we have no key of it; the same letters in clear name somebody else.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def resolve(self, key: ContactKey) -> int:
        assert_key(key)
        number: int = await self._bus.execute(NumberContact(key=name_of(key)), Context(key.merchant, ACTOR))
        return number


def name_of(key: ContactKey) -> str:
    """What numbers are given to: no two keys have the same."""
    if isinstance(key, Anonymous):
        return f"anonymous|{key.reference}"
    named = f"{key.field}|{key.value}"
    return f"encrypted|{named}" if key.encrypted else named


class OwnApps:
    """processes.directories.AppMetadata, from the apps' own events."""

    def __init__(self, store: EventStore, ids: Ids) -> None:
        self._store, self._ids = store, ids

    async def app(self, code: str) -> AppFacts | None:
        if not is_code(code):
            return None
        app = await self._store.load(App, self._ids.app(code), fresh=True)
        return app.facts if app is not None else None


class OwnMerchants:
    """processes.directories.Merchants: everybody has the defaults; what differs is set on the apps."""

    def __init__(self, apps: WithApps) -> None:
        self._apps = apps

    def known(self, merchant: str) -> MerchantSettings:
        return MerchantSettings(merchant=merchant)

    async def settings(self, merchant: str) -> MerchantSettings:
        return self.known(merchant)

    async def is_known(self, merchant: str) -> bool:
        return await self._apps.has_app(merchant)
