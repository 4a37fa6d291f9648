"""sdk/push in a real Chromium, on a site of its own: subscribed, sent to, shown, clicked, counted.

Two things are stood in for, since no protocol lets a test do them: the browser's push service (the sandbox is it, and
checks the key), and the hand that clicks a notification.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.browser import Browser, Page, chromium
from tests.fixtures.served import Served, served
from tests.replays.chromium import WebDevice, shop
from tests.replays.sdks.pushes import until
from tests.unit.doppler.shop import KEY, su

pytestmark = pytest.mark.timeout(120)
SDK = Path(__file__).parents[2] / "sdk" / "push"
BLANK = '<!doctype html><script src="/push.js"></script>'
SPAN = {"from": "2020-01-01", "to": "2090-01-01"}
PUSH_SERVICE = """{
  globalThis.given = %s;
  globalThis.held = globalThis.held ?? null;
  const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=+$/, "");
  PushManager.prototype.getSubscription = async () => held;
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    const { key, ...subscription } = given;
    if (!userVisibleOnly || base64url(applicationServerKey) !== key) throw new Error("another key");
    held = { ...subscription, toJSON: () => subscription, unsubscribe: async () => { held = null; } };
    return held;
  };
}"""
CLICK = """(async () => {
  let opened = null;
  clients.openWindow = async (url) => { opened = url; };
  const [notification] = await registration.getNotifications();
  const click = new NotificationEvent("notificationclick", { notification, action: %s });
  let work = null;
  click.waitUntil = (promise) => { work = promise; };
  dispatchEvent(click);
  await work;
  return opened;
})()"""
COUNT_SHOWN = """
  globalThis.shown = 0;
  const show = registration.showNotification.bind(registration);
  registration.showNotification = async (...what) => { await show(...what); shown += 1; };
"""
CHANGE = """(async () => {
  held = null;
  let work = null;
  const change = new Event("pushsubscriptionchange");
  change.waitUntil = (promise) => { work = promise; };
  dispatchEvent(change);
  await work;
})()"""


class Visitor(WebDevice):
    """A browser on the site. domain: the one it subscribes to."""

    def __init__(self, page: Page, origin: str, exchange: Served, domain: str) -> None:
        super().__init__(page, origin, "", "")
        self.exchange, self.domain = exchange, domain

    async def open(self, **given: Any) -> None:
        """Load the page, in a browser whose push service would give this subscription."""
        await self._page.call("Page.enable")
        await self._page.call("Page.addScriptToEvaluateOnNewDocument", source=stand_in(given))
        await self._page.call("Page.navigate", url=f"{self._origin}/index.html")
        await self._page.until("Boolean(self.msgxcPush && document.readyState === 'complete')")
        site = {"api": str(self.exchange.http.base_url), "domain": self.domain}
        await self.does(f"globalThis.push = new msgxcPush.Site({json.dumps(site)}), 1")

    async def told(self, path: str = "", method: str = "GET", body: Any = None, **query: Any) -> Any:
        """What a superuser reads, or does."""
        got = self.exchange.http.request(method, path, json=body, params=query, headers=su())
        assert got.status_code < 300, got.text
        return got.json() if got.content else None

    async def sent(self) -> tuple[str, Any]:
        """Its id, and what the push service got for this browser."""
        message = {
            "title": "News",
            "body": "There is news",
            "onClickLink": "https://example.org/?news",
            "iconUrl": "https://example.org/i.png",
            "actions": [{"action": "buy", "title": "Buy", "link": "/index.html?buy"}],
        }
        mid = (await self.told(f"/messages/domains/{self.domain}", "POST", message))["messageId"]
        endpoint = (await self.does("msgxcPush.kept()"))["endpoint"]

        async def look() -> Any:
            items = [each for each in self.exchange.arrived() if each["address"] == endpoint]
            payloads = [json.loads(each["extra"]["payload"]) for each in items]
            return next((each for each in payloads if each["data"]["messageId"] == mid), None)

        return mid, await until(look)

    async def notifications(self) -> list[dict[str, str]]:
        """As they are shown."""
        listed = "navigator.serviceWorker.ready.then(async (ready) => (await ready.getNotifications())"
        found: list[dict[str, str]] = await self.does(
            f"{listed}.map(({{title, body}}) => ({{title, body}})))"
        )
        return found

    def worker(self, browser: Browser) -> AbstractAsyncContextManager[Page]:
        return browser.worker(f"{self._origin}/push-worker.js")

    async def counted(self, mid: str, **expected: int) -> None:
        """The figures come to this."""

        async def look() -> bool:
            found = await self.told(f"/domains/{self.domain}/messages/{mid}/stats", **SPAN)
            return {name: found[name] for name in expected} == expected

        await until(look)


def stand_in(given: dict[str, Any]) -> str:
    return PUSH_SERVICE % json.dumps(given)


def subscription(exchange: Served, domain: str) -> dict[str, Any]:
    """What the push service would give to whoever subscribes with the domain's key."""
    got = exchange.http.get(f"/domains/{domain}/push-configuration")
    key = got.json()["vapidPublicKey"]
    made = exchange.http.post("/sandbox/subscriptions", json={"application_server_key": key}).json()
    keys = made.get("keys") or {name: made[name] for name in ("p256dh", "auth")}
    return {"endpoint": made["endpoint"], "expirationTime": None, "keys": keys, "key": key}


@pytest.fixture(scope="module")
def domains_exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("domains")
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "superusers.pem").write_bytes(pem)
    with served(folder, MSGXC_DOPPLER_KEYS=str(folder / "superusers.pem")) as it:
        yield it


@pytest.fixture(scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


type Opening = Callable[..., AbstractAsyncContextManager[Visitor]]


@pytest.fixture
def visiting(domains_exchange: Served, browser: Browser, tmp_path: Path) -> Opening:
    """A site that has the two files, and someone who visits it."""
    for name in ("push.js", "push-worker.js"):
        (tmp_path / name).write_bytes((SDK / name).read_bytes())
    (tmp_path / "index.html").write_text(BLANK)

    @asynccontextmanager
    async def visit(domain: str, permission: str = "granted", **flags: Any) -> AsyncIterator[Visitor]:
        with shop(tmp_path) as origin:
            async with browser.page("about:blank") as page:
                await page.call("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
                name = {"name": "notifications"}
                await page.call("Browser.setPermission", origin=origin, permission=name, setting=permission)
                made = Visitor(page, origin, domains_exchange, domain)
                await made.told(f"/domains/{domain}", "PUT", {"isPushFeatureEnabled": True, **flags})
                yield made

    return visit


async def test_a_message_is_shown_and_what_comes_of_it_is_counted(
    visiting: Opening, browser: Browser
) -> None:
    """Subscribed by the domain's own key; shown once though it comes twice; receipt, click and button click count."""
    async with visiting("shown.example") as visitor:
        await visitor.open(**subscription(visitor.exchange, visitor.domain))
        assert await visitor.does("push.state()") == "granted"
        assert (
            await visitor.does("push.subscribe({email: 'ann@example.org', visitorGuid: 'v-1'})")
            == "subscribed"
        )

        async def listed() -> Any:
            rows = await visitor.told(f"/push-contacts/{visitor.domain}/v-1")
            return (await visitor.told("/push-contacts", domain=visitor.domain)) if rows else None

        [contact] = await until(listed)
        assert (contact["email"], contact["visitorGuid"]) == ("ann@example.org", "v-1")

        mid, payload = await visitor.sent()
        assert await visitor.push(payload) == [{"title": "News", "body": "There is news"}]
        await visitor.counted(mid, sent=1, delivered=1, received=1, clicks=0)
        async with visitor.worker(browser) as worker:
            await worker.value(COUNT_SHOWN)
            await visitor.push(payload)
            await worker.until("shown == 1")
            assert len(await visitor.notifications()) == 1
            assert (await worker.value(CLICK % "''")).endswith("?news")
        await visitor.counted(mid, received=1, clicks=1, actionClick=0)
        assert await visitor.notifications() == []

        second, payload = await visitor.sent()
        await visitor.push(payload)
        async with visitor.worker(browser) as worker:
            assert (await worker.value(CLICK % "'buy'")).endswith("?buy")
        await visitor.counted(second, sent=1, received=1, actionClick=1)


async def test_a_report_that_fails_goes_out_with_the_next(visiting: Opening, browser: Browser) -> None:
    """The exchange cannot be reached when a message is shown; the click's report takes the receipt along."""
    async with visiting("late.example") as visitor:
        await visitor.open(**subscription(visitor.exchange, visitor.domain))
        await visitor.does("push.subscribe()")
        mid, payload = await visitor.sent()
        async with visitor.worker(browser) as worker:
            await worker.value("globalThis.real = fetch, globalThis.fetch = async () => { throw Error() }, 1")
            await visitor.push(payload)
            await worker.value("globalThis.fetch = real, 1")
            await worker.value(CLICK % "''")
        await visitor.counted(mid, received=1, clicks=1)


async def test_a_changed_subscription_is_told(visiting: Opening, browser: Browser) -> None:
    """By the worker when the browser says so, by the page when nobody did: the next message goes there."""
    async with visiting("changed.example") as visitor:
        await visitor.open(**subscription(visitor.exchange, visitor.domain))
        await visitor.does("push.subscribe()")
        name = (await visitor.does("msgxcPush.kept()"))["deviceToken"]
        await until(lambda: has_one(visitor))
        second = subscription(visitor.exchange, visitor.domain)
        async with visitor.worker(browser) as worker:
            await worker.value(stand_in(second) + "; 1")
            await worker.value(CHANGE)
        kept = await visitor.does("msgxcPush.kept()")
        assert (kept["endpoint"], kept["deviceToken"]) == (second["endpoint"], name)
        await visitor.sent()
        third = subscription(visitor.exchange, visitor.domain)
        await visitor.open(**third)
        assert await visitor.does("push.resume()") == "subscribed"
        kept = await visitor.does("msgxcPush.kept()")
        assert (kept["endpoint"], kept["deviceToken"]) == (third["endpoint"], name)
        await visitor.sent()


async def test_a_registration_deleted_meanwhile_is_made_anew(visiting: Opening) -> None:
    """A page whose push contact was deleted registers under another device token, and messages reach it."""
    async with visiting("deleted.example") as visitor:
        await visitor.open(**subscription(visitor.exchange, visitor.domain))
        await visitor.does("push.subscribe({visitorGuid: 'v-9'})")
        name = (await visitor.does("msgxcPush.kept()"))["deviceToken"]
        await until(lambda: has_one(visitor))
        assert await visitor.told("/push-contacts/_bulk", "DELETE", [name]) == 1
        await visitor.open(**subscription(visitor.exchange, visitor.domain))
        assert await visitor.does("push.resume()") == "subscribed"
        assert (await visitor.does("msgxcPush.kept()"))["deviceToken"] != name
        await visitor.sent()


@pytest.mark.parametrize(
    ("flags", "permission", "state"),
    [
        ({"isPushFeatureEnabled": False}, "granted", "disabled"),
        ({"usesExternalPushDomain": True, "externalPushDomain": "push.example.net"}, "granted", "elsewhere"),
        ({"usesExternalPushDomain": True, "externalPushDomain": "127.0.0.1"}, "granted", "subscribed"),
        ({}, "denied", "denied"),
    ],
)
async def test_who_may_not_be_subscribed_is_not(
    visiting: Opening, flags: dict[str, Any], permission: str, state: str
) -> None:
    """Nothing is registered where the domain sends nothing, subscribes elsewhere, or the visitor said no."""
    domain = f"{state}.example"
    async with visiting(domain, permission, **flags) as visitor:
        await visitor.open(**subscription(visitor.exchange, domain))
        assert await visitor.does("push.subscribe()") == state
        assert bool(await visitor.does("msgxcPush.kept()")) is (state == "subscribed")
        assert await visitor.does("push.resume()") == state
        await visitor.does("push.unsubscribe()")
        assert await visitor.does("msgxcPush.kept()") is None


async def has_one(visitor: Visitor) -> bool:
    found = await visitor.told(f"/domains/{visitor.domain}/stats")
    return bool(found["contactsStats"]["active"])
