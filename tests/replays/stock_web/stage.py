"""Where the stock web SDK lives: a shop's page in a real Chromium, and a network that ends at an exchange."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.browser import Page, chromium
from tests.fixtures.certificates import Certificates
from tests.replays.chromium import shop
from tests.replays.sdks.devices import claims
from tests.replays.served_place import ServedPlace
from tests.replays.stock import until
from tests.replays.terminator import Exchanged, Hosts, Message, Terminator, terminator

SITE = Path(__file__).parent / "site"
CORS = b"".join(b"access-control-allow-%b: *\r\n" % what for what in (b"origin", b"headers", b"methods"))
CONFIGURATION = b'{"features":{"mobileEngage":true,"embeddedMessaging":true}}'
SIGNATURE = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).sign(CONFIGURATION, ec.ECDSA(hashes.SHA256()))
)
"""Good in form; the page believes any (site/index.html), since Emarsys' own key is nobody else's."""


def _configuration(request: Message) -> bytes:
    method, target, *_ = request.first_line
    if method == "OPTIONS":
        return b"HTTP/1.1 204 No Content\r\n" + CORS + b"\r\n"
    is_signature = target.startswith("/signature/") or target.endswith(".sign")
    content = SIGNATURE if is_signature else b"" if target.startswith("/jsbridge/") else CONFIGURATION
    return b"HTTP/1.1 200 OK\r\n" + CORS + b"content-length: %d\r\n\r\n" % len(content) + content


HOSTS = Hosts(
    served=(
        "me-client.eservice.emarsys.net",
        "mobile-events.eservice.emarsys.net",
        "embedded-messaging.gservice.emarsys.net",
    ),
    answered={
        "mobile-sdk-config.gservice.emarsys.net": _configuration,
        "log-dealer.gservice.emarsys.net": _configuration,
    },
)


@dataclass(slots=True)
class Stage:
    """One visitor of one shop."""

    place: ServedPlace
    network: Terminator
    _page: Page
    _origin: str
    _errors: list[str] = field(default_factory=list)

    async def load(self) -> None:
        """The page anew, and the SDK with it; where it was enabled before, it has begun a session."""
        await self._keep_errors()
        await self._page.call("Page.navigate", url="about:blank")
        starts = self._starts()
        await self._page.call("Page.navigate", url=f"{self._origin}/index.html")
        await self._page.until("Boolean(window.cloud)")
        if starts:
            await until(lambda: self._starts() > starts and self.network.events_sent()[-1] == "session:start")

    def _starts(self) -> int:
        return self.network.events_sent().count("app:start")

    async def enable(self, app: str) -> None:
        key = self.place.exchange.call("GET", f"/api/v2/apps/{self.place.app}/vapid").json()["public_key"]
        worker = {"applicationServerKey": key, "serviceWorkerPath": "/worker.js"}
        configuration = {"applicationCode": app, "serviceWorkerOptions": worker}
        await self.does(f"cloud.setup.enable({json.dumps(configuration)}, async () => null)")

    async def does(self, expression: str) -> Any:
        return await self._page.value(expression)

    async def track(self, name: str) -> None:
        """Told to the SDK, which sends it when it can."""
        event = {"type": "custom", "name": name, "attributes": {}}
        await self.does(f"void cloud.event.track({json.dumps(event)})")

    async def told(self, event: str) -> None:
        """Return once the shop was told of such an event."""
        await self._page.until(f"told.includes({json.dumps(event)})")

    async def shows(self, words: str) -> None:
        """Return once the inbox on the page shows this."""
        await self._page.until(f"document.body.innerHTML.includes({json.dumps(words)})")

    async def subscribe(self, subscription: dict[str, Any]) -> None:
        """To push messages; the subscription is what the browser's push service would give."""
        await self.does(f"void (window.subscription = {json.dumps(subscription)})")
        await self.does("cloud.push.subscribe()")

    @property
    def calls(self) -> list[Exchanged]:
        """Without the browser's own questions whether it may ask."""
        return [call for call in self.network.calls if call.method != "OPTIONS"]

    def state(self) -> dict[str, Any]:
        """The claims of the newest client state that passed by: an answer says it where it is news."""
        given = [
            headers.get("ec-client-state", "")
            for call in self.calls
            for headers in (call.headers, call.answer_headers)
        ]
        return claims([state for state in given if state][-1])

    async def _keep_errors(self) -> None:
        self._errors += await self.does("window.errors ?? []")

    async def assert_unsurprised(self, *, errors: int = 0) -> None:
        """Every call was answered as the SDK hopes, and of no more than so many did it tell its developer."""
        await self._keep_errors()
        self.network.assert_unsurprising()
        assert len(self._errors) <= errors, self._errors
        assert not [host for host in self.network.stray if "emarsys" in host]


@asynccontextmanager
async def stage(place: ServedPlace, node_modules: Path, folder: Path) -> AsyncIterator[Stage]:
    """The page is loaded."""
    site = folder / "site"
    site.mkdir()
    for each in (*SITE.iterdir(), node_modules):
        (site / each.name).symlink_to(each)
    certificates = Certificates(folder / "certificates", *HOSTS.served, *HOSTS.answered)
    async with terminator(place.exchange.port, certificates.server(), HOSTS) as network:
        arguments = (
            f"--proxy-server=127.0.0.1:{network.port}",  # not for this machine's own addresses
            "--ignore-certificate-errors",
            "--disable-background-networking",
            "--disable-component-update",
        )
        async with chromium(folder / "browser", *arguments) as browser, browser.page("about:blank") as page:
            with shop(site) as origin:
                await page.call("Browser.grantPermissions", origin=origin, permissions=["notifications"])
                made = Stage(place, network, page, origin)
                await made.load()
                yield made
