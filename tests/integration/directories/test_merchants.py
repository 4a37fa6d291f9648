"""Which merchants are known here: by a service, by an app of their own, by an app that a service has told of."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from domain.errors import Unavailable
from infra.apps.merchants import NotedMerchants, NotingApps
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.merchants import FRESH_S, UNKNOWN_S, HttpMerchants
from infra.emarsys_http.service import Service
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.fixtures.directory_service import TOKEN, DirectoryService
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.directories.processes import IDS, Clock
from tests.memory.ports.apps import Realms


@pytest_asyncio.fixture
async def service(there: DirectoryService) -> AsyncIterator[Service]:
    opened = Service("the service", there.url, token=TOKEN)
    yield opened
    await opened.aclose()


async def test_a_merchant_is_known_to_its_service(there: DirectoryService, service: Service) -> None:
    """404 means that there is none; who is made known is known soon after."""
    clock = Clock()
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {}
    assert await merchants.is_known("acme")
    assert not await merchants.is_known("other")
    asked = len(there.asked)
    assert not await merchants.is_known("other")
    assert await merchants.is_known("acme")
    assert len(there.asked) == asked, "both are remembered"
    there.merchants["other"] = {}
    clock.now_s += UNKNOWN_S + 1
    assert await merchants.is_known("other")


async def test_a_merchant_with_an_app_of_its_own_needs_no_service(
    there: DirectoryService, service: Service
) -> None:
    """It is known when the service says no, and when it is away."""
    merchants = HttpMerchants(service, Realms("acme"))
    assert await merchants.is_known("acme")
    there.behaviour = "resets"
    away = HttpMerchants(service, Realms("acme"))
    assert await away.is_known("acme")


async def test_while_the_service_is_away_nobody_new_is_known(
    there: DirectoryService, service: Service
) -> None:
    """Who was known stays so; of others nobody can say."""
    clock = Clock()
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {}
    assert await merchants.is_known("acme")
    there.behaviour = "resets"
    clock.now_s += FRESH_S + 1
    assert await merchants.is_known("acme")
    with pytest.raises(Unavailable):
        await merchants.is_known("other")


async def test_names_of_nobody_push_out_no_merchant(there: DirectoryService, service: Service) -> None:
    """Invented names are remembered apart."""
    merchants = HttpMerchants(service, Realms())
    there.merchants["acme"] = {}
    await merchants.settings("acme")
    for number in range(20):
        await merchants.settings(f"invented-{number}")
    assert set(merchants._remembered) == {"acme"}
    assert len(merchants._unknown) == 20


async def test_an_app_that_was_looked_up_makes_its_merchant_known_everywhere(
    log: JetStreamLog, nats_server: NatsServer, there: DirectoryService, service: Service
) -> None:
    """Where a service keeps the apps and none the merchants; an app that is not there makes nobody known."""
    noted = NotedMerchants(log.js)
    apps = NotingApps(HttpApps(service, IDS), noted)
    there.apps["shop"] = {"code": "SHOP", "merchant": "acme"}
    assert not await noted.has_app("acme")
    assert await apps.app("NONE") is None
    assert await apps.app("SHOP") is not None
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as elsewhere:
        other = NotedMerchants(elsewhere.js)
        assert await other.has_app("acme")
        assert not await other.has_app("ACME")
        assert not await other.has_app("other")
