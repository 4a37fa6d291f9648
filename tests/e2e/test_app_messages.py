"""An app's message on a served exchange: devices registered as their SDKs do it, the providers' own protocols."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.test_guides import blocks
from tests.fixtures.served import Served, served

PEOPLE = 4
FIELD = 3
"""The contact field that the apps name people by."""


class Device:
    """One application instance: what its SDK keeps between calls."""

    def __init__(self, exchange: Served, app: str, platform: str) -> None:
        self._exchange, self._path = exchange, f"/v3/apps/{app}/client"
        self._state: dict[str, str] = {}
        self.id = str(uuid4())
        self._call("POST", "", {"platform": platform, "applicationVersion": "1", "language": "en"}, 204)

    def register(self, token: str, person: str) -> None:
        """Its push token, and who uses it."""
        self._call("PUT", "/push-token", {"pushToken": token}, 204)
        self._call("POST", "/contact", {"contactFieldId": FIELD, "contactFieldValue": person}, 200)

    def clear(self) -> None:
        self._call("DELETE", "/push-token", {}, 204)

    def _call(self, method: str, path: str, body: dict[str, Any], status: int) -> None:
        headers = {"X-Client-Id": self.id, **self._state}
        answer = self._exchange.http.request(method, self._path + path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        self._state = {"X-Client-State": answer.headers["x-client-state"]}


def phone(exchange: Served) -> str:
    minted = exchange.http.post("/sandbox/devices", json={"os": "android"})
    assert minted.status_code == 201, minted.text
    return str(minted.json()["token"])


def browser(exchange: Served, key: str) -> dict[str, Any]:
    minted = exchange.http.post("/sandbox/subscriptions", json={"application_server_key": key})
    assert minted.status_code == 201, minted.text
    subscription: dict[str, Any] = minted.json()
    return subscription


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("apps")
    with served(folder) as running:
        for code in ("Shop", "Bakery"):
            answer = running.call("POST", "/api/v2/apps", {"code": code})
            assert answer.status_code == 201, answer.text
        yield running


@pytest.fixture(scope="module")
def addresses(exchange: Served) -> dict[str, set[str]]:
    """By app, where each person's phone and browser are reached; the browser subscribed to the app's own key."""
    found: dict[str, set[str]] = {"Shop": set(), "Bakery": set()}
    for app in found:
        key = exchange.call("GET", f"/api/v2/apps/{app}/vapid").json()["public_key"]
        for number in range(PEOPLE):
            token, subscription = phone(exchange), browser(exchange, key)
            Device(exchange, app, "android").register(token, f"person-{number}")
            Device(exchange, app, "chrome").register(json.dumps(subscription), f"person-{number}")
            found[app] |= {token, subscription["endpoint"]}
    return found


def settled(exchange: Served, mid: str) -> dict[str, Any]:
    exchange.until(lambda: exchange.message(mid)["state"] == "settled", 30)
    return exchange.message(mid)


def arrived(exchange: Served, title: str) -> list[str]:
    return [item["address"] for item in exchange.arrived() if item["title"] == title]


def test_everyone_gets_it_on_the_apps_clients_alone(exchange: Served, addresses: dict[str, set[str]]) -> None:
    """Each phone and browser of the app once, the other app's never; every client is accounted for."""
    body = {"msg": "Only today", "subject": "Sale", "push": {"link": "https://shop.example"}}
    answer = exchange.call("POST", "/api/v2/apps/shop/messages", body)
    assert answer.status_code == 200, answer.text
    mid = answer.headers["location"].rpartition("/")[2]
    told = settled(exchange, mid)
    assert sorted(arrived(exchange, "Sale")) == sorted(addresses["Shop"])
    assert (told["totals"]["contacts"], told["totals"]["accepted"]) == (PEOPLE, 2 * PEOPLE)
    deliveries = exchange.deliveries(mid)
    assert len({row["client"] for row in deliveries}) == len(deliveries) == 2 * PEOPLE
    assert {(row["channel"], row["state"]) for row in deliveries} == {
        ("fcm", "accepted"),
        ("webpush", "accepted"),
    }


def test_an_app_that_is_switched_off_meanwhile_sends_nothing(
    exchange: Served, addresses: dict[str, set[str]]
) -> None:
    """What was scheduled before falls due and ends: nothing is sent, and every delivery says why."""
    domain = {"kind": "web-domain", "push": {"style": "emarsys-v3"}}
    assert exchange.call("PUT", "/api/v2/apps/Bakery", domain).status_code == 200
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"msg": "Fresh bread", "subject": "Bread", "scheduled": at}
    answer = exchange.call("POST", "/api/v2/apps/bakery/messages", body)
    assert answer.status_code == 200, answer.text
    mid = answer.headers["location"].rpartition("/")[2]
    off = {**domain, "is_push_feature_enabled": False}
    assert exchange.call("PUT", "/api/v2/apps/Bakery", off).status_code == 200
    path, other = "/api/v2/apps/bakery/messages", {**body, "subject": "More bread"}
    # Processes know of it within a second.
    exchange.until(lambda: exchange.call("POST", path, other).status_code == 409, 5)
    assert exchange.call("POST", "/api/v2/execute/message", {"mid": mid}).status_code == 200
    told = settled(exchange, mid)
    assert arrived(exchange, "Bread") == []
    assert told["totals"]["suppressed"] == 2 * PEOPLE
    assert {row["code"] for row in exchange.deliveries(mid)} == {"app-switched-off"}


def test_a_token_that_two_installs_told_does_not_come_back_to_the_first(
    exchange: Served, tmp_path: Path
) -> None:
    """Ann's install told it, then Bob's, who clears it: her message goes nowhere, and her client's story says why."""
    assert exchange.call("POST", "/api/v2/apps", {"code": "Kiosk"}).status_code == 201
    token = phone(exchange)
    anns, bobs = Device(exchange, "Kiosk", "android"), Device(exchange, "Kiosk", "android")
    anns.register(token, "ann")
    bobs.register(token, "bob")
    bobs.clear()

    def losses() -> list[str]:
        said = exchange.run(f".venv/bin/msgxc events show client:Kiosk/{anns.id} --json", tmp_path)
        facts = [json.loads(line) for line in said.splitlines()]
        return [each["data"]["code"] for each in facts if each["topic"] == "client.address-retired.v2"]

    assert exchange.until(losses, 15) == ["taken-over"]
    answer = exchange.call("POST", "/api/v2/apps/kiosk/messages", {"msg": "For Ann", "subject": "Ann"})
    assert answer.status_code == 200, answer.text
    settled(exchange, answer.headers["location"].rpartition("/")[2])
    assert arrived(exchange, "Ann") == []


def test_the_guide_works_as_written(exchange: Served, tmp_path: Path) -> None:
    """An app, a phone, a message: one shell, and it arrives."""
    said = exchange.run("\n".join(blocks("docs/guides/app-messages.md")), tmp_path)
    assert "location: /api/v2/messages/" in said
    mid = said.rpartition("/api/v2/messages/")[2][:36]
    assert settled(exchange, mid)["totals"]["accepted"] == 1
