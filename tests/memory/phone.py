"""A device as the client service sees it: it keeps what it is given, and sends it along. See tests/replays for SDKs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from commands.apps import RegisterApp
from domain.app_settings import AppSettings
from domain.recorded import EVENTS
from tests.memory.site import Site, site
from tests.memory.world import REALM

APP, OTHER = "EMS1-23456", "EMS9-87654"
ANN = {"contactFieldId": 3, "contactFieldValue": "ann@example.org"}
PROPERTIES = {"platform": "ios", "applicationVersion": "1.0", "language": "en"}


class Phone:
    """A device that keeps what it is given, as the SDKs do."""

    def __init__(self, it: Site, client_id: str = "device-1", app: str = APP, base: str = "/v3/apps") -> None:
        self.it, self.client_id, self.app, self.base = it, client_id, app, base
        self.state = self.contact_token = self.refresh_token = ""

    @property
    def is_v4(self) -> bool:
        return self.base.startswith("/v4")

    async def call(
        self, method: str, path: str, body: Any = None, *, at: str | None = None, **headers: str
    ) -> httpx.Response:
        """at: where, if not at its usual base."""
        names = ("ec-client-id", "ec-client-state", "ec-contact") if self.is_v4 else V3_NAMES
        held = dict(zip(names, (self.client_id, self.state, self.contact_token), strict=True))
        sent = {name: value for name, value in (held | headers).items() if value}
        got = await self.it.call(method, f"{at or self.base}/{self.app}{path}", body, by=None, headers=sent)
        self.state = got.headers.get(names[1], self.state)
        if got.status_code == 200 and path != "/geo-fences":
            self.contact_token = got.json()["contactToken"]
            self.refresh_token = got.json().get("refreshToken", self.refresh_token)
        return got

    @property
    def says(self) -> dict[str, Any]:
        """What W reads of its state."""
        claims = self.state.split(".")[1]
        found: dict[str, Any] = json.loads(base64.b64decode(claims + "=" * (-len(claims) % 4)))
        return found


V3_NAMES = ("x-client-id", "x-client-state", "x-contact-token")


def topics(it: Site, kind: str = "client") -> list[str]:
    return [fact.topic for fact in it.world.facts(EVENTS, f"evt.{kind}.>")]


async def started(it: Site, **given: str) -> Phone:
    """Registered, with an anonymous contact."""
    phone = Phone(it, **given)
    await phone.call("POST", "/client", PROPERTIES)
    if not phone.is_v4:
        await phone.call("POST", "/client/contact?anonymous", {})
    return phone


def count(it: Site) -> int:
    return len(it.world.facts(EVENTS))


@asynccontextmanager
async def phones(*, served: bool = False) -> AsyncIterator[Site]:
    """A site with two apps of one merchant. served: by uvicorn."""
    async with site(served=served) as made:
        for code in (APP, OTHER):
            settings = AppSettings(merchant=REALM, default_contact_field=3)
            await made.world.do(RegisterApp(code=code, settings=settings))
        await made.settled()
        yield made
