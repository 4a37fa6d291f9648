"""Contacts, apps and merchants: our own log and services over HTTP keep the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from commands.apps import ChangeApp, RegisterApp, RetireApp
from domain.app_settings import AppSettings, PushSettings, RateLimits
from domain.devices.event_action import EventAction
from domain.devices.geofence import Geofence, Geofences, Group, Trigger
from domain.errors import Invalid
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.contacts import HttpContacts
from infra.emarsys_http.merchants import HttpMerchants
from infra.emarsys_http.service import Service
from infra.lookups.own_directories import OwnApps, OwnContacts, OwnMerchants
from processes.directories import (
    CONTACT_ID_MAX,
    VALUE_MAX,
    Anonymous,
    AppMetadata,
    ContactData,
    ContactKey,
    Identified,
    Merchants,
    MerchantSettings,
)
from tests.fixtures.directory_service import TOKEN, directory_service
from tests.memory.ports.apps import Realms
from tests.memory.site import Site, site, token
from tests.memory.world import IDS, REALM, World

BACKENDS = ("own", "http")
ANN = Identified(merchant=REALM, field=3, value="ann@example.org")
GUEST = Anonymous(merchant=REALM, reference="0bb1245635e68422bf9e40c8184523d3")


@asynccontextmanager
async def _contacts(backend: str) -> AsyncIterator[Callable[[], ContactData]]:
    """Makes adapters as several processes would have them, on the same contacts."""
    if backend == "own":
        made = World()
        yield lambda: OwnContacts(made.connect().bus)
        return
    async with directory_service() as service:
        opened: list[Service] = []

        def open_one() -> ContactData:
            opened.append(Service("the contact service", service.url, token=TOKEN))
            return HttpContacts(opened[-1])

        yield open_one
        for each in opened:
            await each.aclose()


@pytest_asyncio.fixture(params=BACKENDS)
async def contacts(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], ContactData]]:
    async with _contacts(request.param) as made:
        yield made


async def test_a_contact_has_the_same_id_on_each_call(contacts: Callable[[], ContactData]) -> None:
    """Asked twenty times at once by two processes, and later by a third."""
    first, second = contacts(), contacts()
    ids = await asyncio.gather(*(each.resolve(ANN) for each in (first, second) for _ in range(10)))
    assert len(set(ids)) == 1
    assert await contacts().resolve(ANN) == ids[0]
    assert 1 <= ids[0] <= CONTACT_ID_MAX


async def test_different_contacts_have_different_ids(contacts: Callable[[], ContactData]) -> None:
    """By value, by field, by reference; and a field's value is never taken for a reference."""
    keys: list[ContactKey] = [
        *(Identified(merchant=REALM, field=3, value=f"{number}@example.org") for number in range(30)),
        *(Identified(merchant=REALM, field=field, value="7") for field in range(1, 10)),
        *(Anonymous(merchant=REALM, reference=str(number)) for number in range(30)),
        Identified(merchant=REALM, field=3, value="ANN@example.org"),
        Identified(merchant=REALM, field=1, value="3|x"),
        Identified(merchant=REALM, field=13, value="x"),
        Identified(merchant=REALM, field=13, value="x", encrypted=True),
        ANN,
        GUEST,
    ]
    directory = contacts()
    ids = [await directory.resolve(key) for key in keys]
    assert len(set(ids)) == len(keys)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (Identified(merchant=REALM, field=0, value="x"), "contactFieldId"),
        (Identified(merchant=REALM, field=2**31, value="x"), "contactFieldId"),
        (Identified(merchant=REALM, field=3, value=""), "contactFieldValue"),
        (Identified(merchant=REALM, field=3, value="x" * (VALUE_MAX + 1)), "contactFieldValue"),
        (Anonymous(merchant=REALM, reference=""), "anonymous"),
    ],
)
async def test_a_key_that_can_name_nobody_is_refused(
    contacts: Callable[[], ContactData], key: ContactKey, field: str
) -> None:
    """For good: whoever retries need not."""
    with pytest.raises(Invalid) as refused:
        await contacts().resolve(key)
    assert (refused.value.field, refused.value.retryable) == (field, False)


@pytest.mark.parametrize(
    "value", ["käse@example.org", "a b", '"', "\\", "x" * VALUE_MAX, "\U0001d51e", "a|b", "\x00"]
)
async def test_any_text_names_a_contact(contacts: Callable[[], ContactData], value: str) -> None:
    """Whatever letters it is made of."""
    directory, key = contacts(), Identified(merchant=REALM, field=3, value=value)
    assert await directory.resolve(key) == await directory.resolve(key)


@dataclass(frozen=True)
class AppsBackend:
    """source: what is tested. it: where its apps are kept."""

    source: AppMetadata
    it: Site

    async def do(self, *commands: RegisterApp | ChangeApp | RetireApp) -> None:
        for command in commands:
            await self.it.world.do(command)
        await self.it.settled()


@pytest_asyncio.fixture(params=BACKENDS)
async def apps(request: pytest.FixtureRequest) -> AsyncIterator[AppsBackend]:
    """The service over HTTP is an exchange, too: its admin API."""
    async with site(served=request.param == "http") as it:
        if request.param == "own":
            yield AppsBackend(OwnApps(it.world.own.store, IDS), it)
            return
        bearer = token("robot", role="admin")
        service = Service("the app service", f"http://127.0.0.1:{it.port}/api/v2", token=bearer)
        yield AppsBackend(HttpApps(service, IDS), it)
        await service.aclose()


RICH = AppSettings(
    merchant=REALM,
    name="Käse & Wein",
    anonymous_allowed=False,
    default_contact_field=3,
    contact_field_push_accepted=70,
    geofences=Geofences(
        refresh_radius_ratio=0.5,
        groups=(
            Group(
                id="shops",
                wait_interval=60.0,
                geofences=(
                    Geofence(
                        id="shop-1",
                        lat=48.2,
                        lon=16.4,
                        r=100.0,
                        triggers=(
                            Trigger(
                                id="t",
                                type="DWELLING",
                                loitering_delay=60_000,
                                action={"type": "MECustomEvent", "name": "stay"},
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
    rate_limits=RateLimits(client_per_minute=7),
    push=PushSettings(style="emarsys-v4", apns_topic="org.example.app"),
    event_actions=(EventAction(event="cart", campaign_id="7", message={"msg": "Still there?"}),),
)


async def test_an_app_is_known_by_its_code(apps: AppsBackend) -> None:
    """With all its settings, in whatever case its code is written."""
    await apps.do(RegisterApp(code="Shop", settings=RICH))
    for code in ("Shop", "SHOP", "shop"):
        facts = await apps.source.app(code)
        assert facts is not None
        assert (facts.id, facts.code, facts.realm, facts.settings) == (IDS.app("shop"), "Shop", REALM, RICH)


async def test_an_app_is_known_as_it_is_now(apps: AppsBackend) -> None:
    """After a change the new settings; after its retirement there is none."""
    await apps.do(RegisterApp(code="SHOP", settings=RICH))
    plain = AppSettings(merchant=REALM, name="Shop")
    await apps.do(ChangeApp(code="SHOP", settings=plain))
    facts = await apps.source.app("SHOP")
    assert facts is not None
    assert facts.settings == plain
    await apps.do(RetireApp(code="SHOP"))
    assert await apps.source.app("SHOP") is None


@pytest.mark.parametrize("code", ["NONE", "", "a/b", "../apps", "x" * 65, "a b", "ä", "a?b", "a%2fb"])
async def test_there_is_no_such_app(apps: AppsBackend, code: str) -> None:
    """Unknown codes, and what cannot be one, are the same."""
    await apps.do(RegisterApp(code="SHOP", settings=RICH))
    assert await apps.source.app(code) is None


@pytest_asyncio.fixture(params=BACKENDS)
async def merchants(request: pytest.FixtureRequest) -> AsyncIterator[Merchants]:
    if request.param == "own":
        yield OwnMerchants(Realms("acme"))
        return
    async with directory_service() as service:
        opened = Service("the merchant service", service.url, token=TOKEN)
        yield HttpMerchants(opened, Realms("acme"))
        await opened.aclose()


@pytest.mark.parametrize("merchant", ["main", "a b", "a/b", "ä?#", "%"])
async def test_a_merchant_of_whom_nothing_is_known_has_the_defaults(
    merchants: Merchants, merchant: str
) -> None:
    """Whatever it is called."""
    assert await merchants.settings(merchant) == MerchantSettings(merchant=merchant)


async def test_a_merchant_with_an_app_here_is_known(merchants: Merchants) -> None:
    """Whatever else anybody knows of it; one without is not."""
    assert await merchants.is_known("acme")
    assert not await merchants.is_known("invented")
