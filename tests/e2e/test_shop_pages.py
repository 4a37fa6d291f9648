"""The example pages in a real browser: a till publishes, the merchant's page shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import pytest
import pytest_asyncio

from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.e2e.browser import Browser, chromium
from tests.fixtures.nats import MASTER_KEY, log_config, wipe
from tests.integration.ezout.market import Market, market, merchant, some_shop

EXAMPLES = Path(__file__).parents[2] / "sdk" / "examples"
ROWS = "document.getElementById('updates').rows.length"
STATE = "document.getElementById('state').dataset.state"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fair(nats_server: NatsServer) -> AsyncIterator[Market]:
    await wipe(nats_server)
    async with (
        open_log(log_config(nats_server), master_key=MASTER_KEY) as log,
        market(log, auth="jwt") as made,
    ):
        yield made


def page(fair: Market, name: str, shop: UUID, **more: str) -> str:
    asked = {"api": f"http://127.0.0.1:{fair.port}", "shop": str(shop), **more}
    return f"{(EXAMPLES / name).as_uri()}?{urlencode(asked)}"


async def test_what_happens_at_the_till_shows_on_the_merchants_page(fair: Market, browser: Browser) -> None:
    """Two clicks at the till: two rows and one basket at the merchant's, as sent; other shops see none."""
    shop, other = some_shop(), some_shop()
    writes, reads = merchant(shop, role="till"), merchant(shop, role="merchant")
    async with (
        browser.page(page(fair, "merchant.html", shop, token=reads)) as seen,
        browser.page(page(fair, "merchant.html", other, token=merchant(other))) as elsewhere,
        browser.page(page(fair, "till.html", shop, token=writes)) as till,
    ):
        await seen.until(f"{STATE} == 'live'")
        await elsewhere.until(f"{STATE} == 'live'")
        await till.until("document.querySelector('[data-product=\"2\"]') != null")
        await till.value("document.querySelector('[data-product=\"2\"]').click()")
        await till.value("document.querySelector('[data-product=\"1\"]').click()")
        await seen.until(f"{ROWS} == 2")
        row = "[...document.getElementById('updates').rows[0].cells].slice(1).map((cell) => cell.textContent)"
        assert await seen.value(row) == ["ADD", "Milk, 1 l", "0012345678905", "1.10"]
        basket = "[...document.getElementById('baskets').rows].map((row) => row.cells[2].textContent)"
        assert await seen.value(basket) == ["4.60"]
        await till.until(f"document.getElementById('said').textContent == 'Message sent to shop ID {shop}'")
        assert await elsewhere.value(ROWS) == 0


async def test_the_merchants_page_misses_nothing_when_it_connects_again(
    fair: Market, browser: Browser
) -> None:
    """The process goes away and comes back: the page shows what came meanwhile, once."""
    shop = some_shop()
    given = merchant(shop)
    body = {"shop_id": str(shop), "data": "hello"}
    async with browser.page(page(fair, "merchant.html", shop, token=given)) as seen:
        await seen.until(f"{STATE} == 'live'")
        for number in range(3):
            headers = {"Authorization": f"Bearer {given}"}
            assert (await fair.client.post("/send", json=body, headers=headers)).status_code == 200
            await seen.until(f"{ROWS} == {2 * number + 1}")
            fair.hub.drain()
            fair.hub.is_draining = False
            assert (await fair.client.post("/send", json=body, headers=headers)).status_code == 200
            await seen.until(f"{ROWS} == {2 * number + 2}")


async def test_the_merchants_page_outlives_an_exchange_that_shows_nothing_for_a_while(
    fair: Market, browser: Browser
) -> None:
    """It asks again as long as it takes, by itself, and then shows what came meanwhile."""
    shop = some_shop()
    given = merchant(shop)
    headers = {"Authorization": f"Bearer {given}"}
    async with browser.page(page(fair, "merchant.html", shop, token=given)) as seen:
        await seen.until(f"{STATE} == 'live'")
        asked = "performance.getEntriesByType('resource').length"
        fair.hub.drain()
        try:
            before = await seen.value(asked)
            await seen.until(f"{asked} >= {before} + 2")  # ended, and put off at least once
            body = {"shop_id": str(shop), "data": "hello"}
            assert (await fair.client.post("/send", json=body, headers=headers)).status_code == 200
        finally:
            fair.hub.is_draining = False
        await seen.until(f"{ROWS} == 1")
        await seen.until(f"{STATE} == 'live'")


async def test_a_page_with_a_wrong_token_says_so(fair: Market, browser: Browser) -> None:
    """The browser stops asking, and the page says why."""
    address = page(fair, "merchant.html", some_shop(), token=merchant(some_shop()))
    async with browser.page(address) as seen:
        await seen.until(f"{STATE} == 'ended'")
