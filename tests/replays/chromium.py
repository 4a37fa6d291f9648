"""Drives the web push SDK's page and service worker in a real Chromium, from an origin that is not the API's."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateways.keys.es256 import base64
from tests.e2e.browser import PATIENCE_S, Browser, Page

UPDATED = "ServiceWorker.workerRegistrationUpdated"
FOLDER = Path(__file__).parent / "web"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Into no test's output."""


@contextmanager
def shop(folder: Path = FOLDER) -> Iterator[str]:
    """A site of its own, the shop's unless another is given; its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def subscription(name: str) -> dict[str, Any]:
    """What a browser's push service would give, with keys that are good."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64(point), "auth": base64(b"0123456789abcdef")}
    return {"endpoint": f"https://push.example/{name}", "expirationTime": None, "keys": keys}


class WebDevice:
    """One browser's copy of the shop. api: the base URL of the service. folder: apps or domains, by build."""

    def __init__(self, page: Page, origin: str, api: str, folder: str) -> None:
        self._page, self._origin = page, origin
        self._bases = {"clientBase": f"{api}/v3/{folder}", "eventsBase": f"{api}/v3/apps"}

    async def start(self, app: str, *, version: str = "1.0", push: dict[str, Any] | None = None) -> Any:
        """Load the page anew and initialise the SDK; what it knows then."""
        await self._page.call("Page.navigate", url=f"{self._origin}/index.html")
        await self._page.until("Boolean(sdk && document.readyState === 'complete')")
        given = {
            **self._bases,
            "applicationCode": app,
            "applicationVersion": version,
            "toSubscribe": push or subscription("first"),
        }
        return await self.does(f"sdk.init({json.dumps(given)})")

    async def does(self, expression: str) -> Any:
        return await self._page.value(expression)

    async def knows(self) -> Any:
        return await self.does("sdk.whoAmI()")

    async def forgive(self) -> Any:
        """What surprised the SDK so far, which the test had in mind."""
        found = await self.stored("surprises")
        await self.does("store.set('surprises', [])")
        return found

    async def lose_subscription(self) -> None:
        """The browser has dropped it; the next start gets another."""
        await self.does("subscription.remove()")

    async def state(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.does("store.get('clientState').then(decoded)")
        return found

    async def stored(self, name: str) -> Any:
        return await self.does(f"store.get({json.dumps(name)})")

    async def push(self, payload: Any) -> list[dict[str, str]]:
        """The browser's push service delivers; the notifications shown then."""
        await self._page.call("ServiceWorker.enable")
        registration = await self._registration()
        await self._page.call(
            "ServiceWorker.deliverPushMessage",
            origin=self._origin,
            registrationId=registration,
            data=json.dumps(payload),
        )
        async with asyncio.timeout(PATIENCE_S):
            while not (shown := await self.notifications()):
                await asyncio.sleep(0.01)
        return shown

    async def notifications(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = await self.does("hand.told({what: 'notifications'})")
        return found

    async def click(self) -> bool:
        """Of the first notification; whether its report was taken."""
        return bool(await self.does("hand.told({what: 'click'})"))

    async def subscription_changed(self, new: dict[str, Any]) -> bool:
        message = json.dumps({"what": "subscriptionChanged", "subscription": new})
        return bool(await self.does(f"hand.told({message})"))

    async def _registration(self) -> str:
        """As the browser calls the service worker."""
        async with asyncio.timeout(PATIENCE_S):
            while (found := self._registered()) is None:
                await self.does("1")  # events are read while something is asked
                await asyncio.sleep(0.01)
        return found

    def _registered(self) -> str | None:
        told = [said["params"] for said in self._page.events if said["method"] == UPDATED]
        known = [one for params in told for one in params["registrations"]]
        ours = [one["registrationId"] for one in known if one["scopeURL"].startswith(self._origin)]
        return ours[-1] if ours else None


@asynccontextmanager
async def device(browser: Browser, api: str, folder: str = "apps") -> AsyncIterator[WebDevice]:
    """A shop of its own, so that nothing of another test is stored. At the end nothing may have surprised it."""
    with shop() as origin:
        async with browser.page("about:blank") as page:
            await page.call("Browser.grantPermissions", origin=origin, permissions=["notifications"])
            # An earlier test's shop may have had the same port.
            await page.call("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
            made = WebDevice(page, origin, api, folder)
            yield made
            assert (await made.knows())["surprises"] == []
