"""The web push SDK in a real Chromium, with real CORS and a real service worker, through the workflow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import uvicorn
from starlette.responses import Response

from tests.e2e.browser import Browser, chromium
from tests.replays import chromium as shops
from tests.replays.chromium import WebDevice, subscription
from tests.replays.contract import Contract

START_S_MAX = 10.0
ANN = "{fieldId: 3, fieldValue: 'ann@example.com', encrypted: false}"


class WebPlace(Protocol):
    api: str
    app: str
    other: str

    async def push(self, device: WebDevice) -> Any:
        """Send a push to the device; its payload as the push service got it."""
        ...

    async def clicked(self, payload: Any) -> bool:
        """Whether the click on that push is known."""
        ...


@dataclass(slots=True)
class InMemory:
    api: str
    contract: Contract
    app: str = "APP1"
    other: str = "APP2"

    async def push(self, device: WebDevice) -> Any:
        settings = {"icon": "https://shop.example/i.png", "link": "https://shop.example"}
        data = {"id": "1", "sid": "sid-1", "applicationCode": self.app, "notificationSettings": settings}
        return {"title": "Sale", "message": "Today", "messageData": {**data, "treatments": {"a": 1}}}

    async def clicked(self, payload: Any) -> bool:
        return payload["messageData"]["sid"] in self.contract.clicked


@asynccontextmanager
async def listening(contract: Contract) -> AsyncIterator[str]:
    """Its base URL."""
    server = uvicorn.Server(uvicorn.Config(contract, port=0, log_level="error", lifespan="off"))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(START_S_MAX):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(params=["contract"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[WebPlace]:
    contract = Contract()
    async with listening(contract) as api:
        yield InMemory(api, contract)


@pytest.fixture(params=["apps", "domains"])
async def page(request: pytest.FixtureRequest, browser: Browser, place: WebPlace) -> AsyncIterator[WebDevice]:
    """A browser that was never there. Whatever surprises the SDK fails the test."""
    async with shops.device(browser, place.api, request.param) as made:
        yield made


async def test_a_first_start_subscribes_with_an_anonymous_contact(page: WebDevice, place: WebPlace) -> None:
    knows = await page.start(place.app)
    assert knows["clientId"].startswith(f"{place.app}_")
    assert (knows["contact"], knows["isSubscribed"]) == ({}, True)
    assert await page.stored("contactToken")


async def test_a_second_start_asks_for_nothing(page: WebDevice, place: WebPlace) -> None:
    first = await page.start(place.app)
    state = await page.stored("clientState")
    again = await page.start(place.app)
    assert again == first
    assert await page.stored("clientState") == state


async def test_a_browser_that_subscribes_anew_while_signed_in_stays_signed_in(
    page: WebDevice, place: WebPlace
) -> None:
    """It registers with its new version, links the contact that it read from the client state, sends the new token."""
    await page.start(place.app)
    assert await page.does(f"sdk.login({ANN})")
    await page.lose_subscription()
    knows = await page.start(place.app, version="2.0", push=subscription("second"))
    assert knows["contact"]["fieldValue"] == "ann@example.com"
    state = await page.state()
    assert state["properties"]["applicationVersion"] == "2.0"
    assert "second" in await page.stored("pushToken")


async def test_signing_in_and_out(page: WebDevice, place: WebPlace) -> None:
    await page.start(place.app)
    assert await page.does(f"sdk.login({ANN})")
    assert (await page.knows())["contact"] == {
        "fieldId": 3,
        "fieldValue": "ann@example.com",
        "encrypted": False,
    }
    assert await page.does("sdk.logout()")
    assert (await page.knows())["contact"] == {}
    assert await page.does("sdk.login({fieldId: 3, fieldValue: 'zoë@пример.рф', encrypted: true})")
    assert (await page.knows())["contact"]["fieldValue"] == "zoë@пример.рф"
    assert (await page.knows())["contact"]["encrypted"] is True
    assert (await page.knows())["isSubscribed"]


async def test_unsubscribing_takes_the_push_token_away(page: WebDevice, place: WebPlace) -> None:
    await page.start(place.app)
    await page.does("sdk.unsubscribe()")
    assert not (await page.knows())["isSubscribed"]


async def test_an_expired_token_costs_an_event_one_refresh(page: WebDevice, place: WebPlace) -> None:
    await page.start(place.app)
    await page.does("hand.spoilContactToken()")
    spoilt = await page.stored("contactToken")
    assert await page.does("sdk.customEvent('bought', {sku: '1'})")
    assert await page.stored("contactToken") != spoilt


async def test_the_service_worker_shows_a_push_and_reports_a_click(page: WebDevice, place: WebPlace) -> None:
    """Also with a token that has expired since."""
    await page.start(place.app)
    payload = await place.push(page)
    shown = await page.push(payload)
    assert shown == [{"title": payload["title"], "body": payload["message"]}]
    await page.does("hand.spoilContactToken()")
    assert await page.click()
    assert await place.clicked(payload)


async def test_a_changed_subscription_is_told_by_the_service_worker(page: WebDevice, place: WebPlace) -> None:
    await page.start(place.app)
    assert await page.subscription_changed(subscription("changed"))
    assert (await page.state())["pushToken"]


async def test_another_application_code_starts_over(page: WebDevice, place: WebPlace) -> None:
    first = await page.start(place.app)
    await page.does(f"sdk.login({ANN})")
    second = await page.start(place.other)
    assert second["clientId"].startswith(f"{place.other}_")
    assert second["clientId"] != first["clientId"]
    assert (second["contact"], second["isSubscribed"]) == ({}, True)


@pytest.mark.parametrize("breach", ["preflight", "exposed"])
async def test_a_service_that_no_browser_may_read_is_noticed(browser: Browser, breach: str) -> None:
    """The page can fail: CORS is the browser's, not the replay's."""

    def change(answer: Response) -> Response:
        name = "access-control-allow-headers" if breach == "preflight" else "access-control-expose-headers"
        del answer.headers[name]
        return answer

    contract = Contract()
    contract.break_next("OPTIONS" if breach == "preflight" else "POST", "/client", change)
    async with listening(contract) as api:
        with pytest.raises(AssertionError):
            async with shops.device(browser, api) as page:
                await page.start("APP1")
