"""The web push SDK in a real Chromium, with real CORS and a real service worker, through the workflow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import pytest
import uvicorn
from starlette.responses import Response

from tests.e2e.browser import Browser, chromium
from tests.fixtures.served import Served
from tests.replays import chromium as shops
from tests.replays.chromium import WebDevice, subscription
from tests.replays.sdks import pushes
from tests.replays.sdks.contract import Contract
from tests.replays.served_place import at

START_S_MAX = 10.0
V4_CALLS = """(async () => {
  const base = %(base)s, app = %(app)s;
  const headers = { "content-type": "application/json", "ec-client-id": crypto.randomUUID() };
  const call = async (method, path, body) => {
    const response = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
    const state = response.headers.get("ec-client-state");
    if (state) headers["ec-client-state"] = state;
    return response;
  };
  const registered = await call("POST", `/v4/apps/${app}/client`, { platform: "web", platformCategory: "web" });
  const found = Boolean(headers["ec-client-state"]);
  headers["ec-contact"] = (await registered.json()).contactToken;
  const token = await call("PUT", `/v4/apps/${app}/client/push-token`, { pushToken: "a-token" });
  const cleared = await call("DELETE", `/v4/apps/${app}/client/push-token`);
  const tags = await call("PATCH", `/embedded-messaging/api/v1/${app}/tags`, []);
  const unlinked = await call("DELETE", `/v4/apps/${app}/client/contact`);
  return [registered.status, found, token.status, cleared.status, tags.status, unlinked.status];
})()"""
PUSH = {"icon": "https://shop.example/i.png", "link": "https://shop.example", "treatments": {"a": 1}}
"""With an icon: for the first notification without one a new Chromium looks for ten seconds."""
ANN = "{fieldId: 3, fieldValue: 'ann@example.com', encrypted: false}"


class WebPlace(Protocol):
    api: str
    app: str
    other: str

    def subscription(self, app: str) -> dict[str, Any]:
        """What the browser's push service would give for the app's key."""
        ...

    async def push(self, device: WebDevice) -> Any:
        """Send to the device; the payload as its push service got it."""
        ...

    async def was_clicked(self) -> bool:
        """Whether the click on that push is known."""
        ...


@dataclass(slots=True)
class InMemory:
    api: str
    contract: Contract
    app: str = "APP1"
    other: str = "APP2"

    def subscription(self, app: str) -> dict[str, Any]:
        return subscription(uuid4().hex)

    async def push(self, device: WebDevice) -> Any:
        settings = {"icon": "https://shop.example/i.png", "link": "https://shop.example"}
        data = {"id": "1", "sid": "sid-1", "applicationCode": self.app, "notificationSettings": settings}
        return {"title": "Sale", "message": "Today", "messageData": {**data, "treatments": {"a": 1}}}

    async def was_clicked(self) -> bool:
        return "sid-1" in self.contract.clicked


@dataclass(slots=True)
class OnExchange:
    api: str
    exchange: Served
    app: str
    other: str
    sent: str = ""

    def subscription(self, app: str) -> dict[str, Any]:
        return pushes.subscription(self.exchange, app)

    async def push(self, device: WebDevice) -> Any:
        self.sent = pushes.send(self.exchange, self.app, subject="Sale", msg="Today", push=PUSH)
        endpoint = json.loads(await device.stored("pushToken"))["endpoint"]
        return await pushes.payload_at(self.exchange, endpoint)

    async def was_clicked(self) -> bool:
        return await pushes.was_clicked(self.exchange, self.sent)


@asynccontextmanager
async def listening(contract: Contract) -> AsyncIterator[str]:
    """Its base URL."""
    server = uvicorn.Server(uvicorn.Config(contract, port=0, log_config=None, lifespan="off"))
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


@pytest.fixture(params=["contract", "exchange"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[WebPlace]:
    if request.param == "contract":
        contract = Contract()
        async with listening(contract) as api:
            yield InMemory(api, contract)
    else:
        exchange: Served = request.getfixturevalue("exchange")
        async with at(exchange) as apps:
            yield OnExchange(str(exchange.http.base_url).rstrip("/"), exchange, apps.app, apps.other)


@pytest.fixture
async def page(browser: Browser, place: WebPlace) -> AsyncIterator[WebDevice]:
    """A browser that was never there. Whatever surprises the SDK fails the test."""
    async with shops.device(browser, place.api) as made:
        yield made


async def started(page: WebDevice, place: WebPlace) -> Any:
    return await page.start(place.app, push=place.subscription(place.app))


async def started_elsewhere(page: WebDevice, app: str) -> None:
    """The page is there; the SDK of generation 3 has spoken first, which is nothing to the other."""
    await page.start(app)


async def test_a_first_start_subscribes_with_an_anonymous_contact(page: WebDevice, place: WebPlace) -> None:
    """A page's first start makes a client of its own, an anonymous contact with a token, and a subscription."""
    knows = await started(page, place)
    assert knows["clientId"].startswith(f"{place.app}_")
    assert (knows["contact"], knows["isSubscribed"]) == ({}, True)
    assert await page.stored("contactToken")


async def test_builds_that_ask_below_domains_are_served_too(browser: Browser, place: WebPlace) -> None:
    """A build of the SDK that calls paths below /domains starts and signs in like the others."""
    async with shops.device(browser, place.api, "domains") as page:
        knows = await started(page, place)
        assert (knows["contact"], knows["isSubscribed"]) == ({}, True)
        assert await page.does(f"sdk.login({ANN})")


async def test_a_second_start_asks_for_nothing(page: WebDevice, place: WebPlace) -> None:
    """A page that comes again knows what it knew, and its client state was not renewed."""
    first = await started(page, place)
    state = await page.stored("clientState")
    again = await started(page, place)
    assert again == first
    assert await page.stored("clientState") == state


async def test_a_browser_that_subscribes_anew_while_signed_in_stays_signed_in(
    page: WebDevice, place: WebPlace
) -> None:
    """It registers with its new version, links the contact that it read from the client state, sends the new token."""
    await started(page, place)
    assert await page.does(f"sdk.login({ANN})")
    await page.lose_subscription()
    second = place.subscription(place.app)
    knows = await page.start(place.app, version="2.0", push=second)
    assert knows["contact"]["fieldValue"] == "ann@example.com"
    state = await page.state()
    assert state["properties"]["applicationVersion"] == "2.0"
    assert json.loads(await page.stored("pushToken")) == second


async def test_signing_in_and_out(page: WebDevice, place: WebPlace) -> None:
    """A page signs in, out, and in as an encrypted contact beyond Latin letters, and stays subscribed."""
    await started(page, place)
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
    """After unsubscribing the page is no longer subscribed."""
    await started(page, place)
    await page.does("sdk.unsubscribe()")
    assert not (await page.knows())["isSubscribed"]


async def test_an_expired_token_costs_an_event_one_refresh(page: WebDevice, place: WebPlace) -> None:
    """An event sent with a spoilt contact token gets through, with a new token."""
    await started(page, place)
    await page.does("hand.spoilContactToken()")
    spoilt = await page.stored("contactToken")
    assert await page.does("sdk.customEvent('bought', {sku: '1'})")
    assert await page.stored("contactToken") != spoilt


async def test_the_service_worker_shows_a_push_and_reports_a_click(page: WebDevice, place: WebPlace) -> None:
    """Also with a token that has expired since."""
    await started(page, place)
    payload = await place.push(page)
    shown = await page.push(payload)
    assert shown == [{"title": payload["title"], "body": payload["message"]}]
    await page.does("hand.spoilContactToken()")
    assert await page.click()
    assert await place.was_clicked()


async def test_a_changed_subscription_is_told_by_the_service_worker(page: WebDevice, place: WebPlace) -> None:
    """When the browser changes the subscription, the service worker hands the new one to the exchange."""
    await started(page, place)
    assert await page.subscription_changed(place.subscription(place.app))
    assert (await page.state())["pushToken"]


async def test_a_changed_subscription_survives_an_expired_token(page: WebDevice, place: WebPlace) -> None:
    """The service worker answers any failure there by one refresh and one more try."""
    await started(page, place)
    await page.does("hand.spoilContactToken()")
    assert await page.subscription_changed(place.subscription(place.app))
    assert (await page.state())["pushToken"]
    assert await page.forgive() == ["error PUT client/push-token: 401"]


async def test_a_browser_with_a_state_of_another_service_is_in_again_with_the_next_sign_in(
    browser: Browser, exchange: Served
) -> None:
    """The SDK takes a state from contact calls, and never refreshes for one (me-client-service.js,
    linkClientToContact). It reads that there is no push token any more, and subscribes anew with the next page.
    """
    base = str(exchange.http.base_url).rstrip("/")
    async with at(exchange) as apps, shops.device(browser, base, "domains") as page:
        place = OnExchange(base, exchange, apps.app, apps.other)
        await started(page, place)
        for name in ("clientState", "contactToken"):
            await page.does(f"hand.spoil('{name}')")
        await page.does("store.set('refreshToken', 'of-another-service')")
        assert await page.does(f"sdk.login({ANN})")
        knows = await page.knows()
        assert (knows["contact"]["fieldValue"], knows["isSubscribed"]) == ("ann@example.com", False)
        knows = await page.start(place.app, push=place.subscription(place.app))
        assert (knows["contact"]["fieldValue"], knows["isSubscribed"]) == ("ann@example.com", True)
        assert await page.does("sdk.customEvent('bought', {sku: '1'})")


async def test_another_application_code_starts_over(page: WebDevice, place: WebPlace) -> None:
    """With another application code the page is another client, anonymous again and subscribed."""
    first = await started(page, place)
    await page.does(f"sdk.login({ANN})")
    second = await page.start(place.other, push=place.subscription(place.other))
    assert second["clientId"].startswith(f"{place.other}_")
    assert second["clientId"] != first["clientId"]
    assert (second["contact"], second["isSubscribed"]) == ({}, True)


async def test_a_page_with_the_multiplatform_sdk_may_call_and_read(
    browser: Browser, exchange: Served
) -> None:
    """That SDK runs in browsers as well: other headers, PATCH, and a client state that it must be able to see."""
    async with (
        at(exchange, "emarsys-v4") as place,
        shops.device(browser, str(exchange.http.base_url)) as page,
    ):
        await started_elsewhere(page, place.app)
        base = str(exchange.http.base_url).rstrip("/")
        told = await page.does(V4_CALLS % {"base": json.dumps(base), "app": json.dumps(place.app)})
        assert told == [200, True, 204, 204, 200, 200]


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
