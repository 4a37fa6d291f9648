"""The client service as devices call it, over a world in memory: codes, headers, bodies, and what is on the log."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

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

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        names = ("ec-client-id", "ec-client-state", "ec-contact") if self.is_v4 else V3_NAMES
        held = dict(zip(names, (self.client_id, self.state, self.contact_token), strict=True))
        sent = {name: value for name, value in (held | headers).items() if value}
        got = await self.it.call(method, f"{self.base}/{self.app}{path}", body, by=None, headers=sent)
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


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with site() as made:
        for code in (APP, OTHER):
            settings = AppSettings(merchant=REALM, default_contact_field=3)
            await made.world.do(RegisterApp(code=code, settings=settings))
        yield made


def topics(it: Site, kind: str = "client") -> list[str]:
    return [fact.body.TOPIC for fact in it.world.facts(EVENTS, f"evt.{kind}.>")]


async def test_the_way_of_a_first_start(it: Site) -> None:
    """Register, push token, anonymous contact, sign-in, refresh: each with its code, and the state always with it."""
    phone = Phone(it)
    registered = await phone.call("POST", "/client", PROPERTIES)
    assert (registered.status_code, registered.content) == (204, b"")
    assert topics(it) == ["client.registered.v1"]
    assert "contactField" not in phone.says
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 204
    assert phone.says["pushToken"] is True
    anonymous = await phone.call("POST", "/client/contact?anonymous=true", {})
    assert (anonymous.status_code, set(anonymous.json())) == (200, {"contactToken", "refreshToken"})
    assert phone.says["contactField"] is None
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 200
    assert phone.says["contactField"] == {
        "contactFieldId": 3,
        "contactFieldValue": "ann@example.org",
        "contactFieldEncryped": False,
    }
    refreshed = await phone.call("POST", "/client/contact-token", {"refreshToken": phone.refresh_token})
    assert (refreshed.status_code, set(refreshed.json())) == (200, {"contactToken"})


async def test_a_contact_without_an_app(it: Site) -> None:
    """By merchant: sign in, refresh; after a sign-out the refresh token is good for nothing."""
    merchant = {"x-merchant-id": REALM}
    path = "/v3/contact-token"
    got = await it.call("POST", path, ANN, by=None, headers=merchant)
    assert (got.status_code, set(got.json())) == (200, {"contactToken", "refreshToken"})
    refresh = {"refreshToken": got.json()["refreshToken"]}
    again = await it.call("POST", path, refresh, by=None, headers=merchant)
    assert (again.status_code, set(again.json())) == (200, {"contactToken"})
    held = merchant | {"x-contact-token": got.json()["contactToken"]}
    assert (await it.call("DELETE", path, by=None, headers=held)).status_code == 204
    assert (await it.call("POST", path, refresh, by=None, headers=merchant)).status_code == 400
    assert (await it.call("DELETE", path, by=None, headers=merchant)).status_code == 204
    assert (await it.call("POST", path, ANN, by=None)).status_code == 400
