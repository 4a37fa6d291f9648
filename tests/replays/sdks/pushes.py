"""Messages of an app on a served exchange: sent as its backend would, found where the provider got them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fixtures.served import Served

PATIENCE_S = 20.0


def device_token(exchange: Served, os: str) -> str:
    """A phone's push token, as its provider minted it."""
    answer = exchange.http.post("/sandbox/devices", json={"os": os})
    assert answer.status_code < 300, answer.text
    return str(answer.json()["token"])


def subscription(exchange: Served, app: str) -> dict[str, Any]:
    """A browser's, bound to the app's own key."""
    key = exchange.call("GET", f"/api/v2/apps/{app}/vapid").json()["public_key"]
    answer = exchange.http.post("/sandbox/subscriptions", json={"application_server_key": key})
    assert answer.status_code < 300, answer.text
    made = answer.json()
    keys = made.get("keys") or {name: made[name] for name in ("p256dh", "auth")}
    return {"endpoint": made["endpoint"], "expirationTime": None, "keys": keys}


def send(exchange: Served, app: str, **message: Any) -> str:
    """To everyone with a client of the app; the message's id."""
    answer = exchange.call("POST", f"/api/v2/apps/{app}/messages", message)
    assert answer.status_code < 300, answer.text
    return str(answer.headers["location"]).rpartition("/")[2]


async def payload_at(exchange: Served, address: str) -> Any:
    """What came for an address: FCM's data, APNs' payload, or what the service worker is given."""
    item = await until(lambda: _arrived(exchange, address))
    if item["channel"] == "webpush":
        return json.loads(item["extra"]["payload"])
    request = exchange.http.get(f"/sandbox/requests/{item['request']}").json()
    payload = json.loads(request["payload"])
    return payload["message"]["data"] if item["channel"] == "fcm" else payload


async def _arrived(exchange: Served, address: str) -> dict[str, Any] | None:
    return next((item for item in exchange.arrived() if item["address"] == address), None)


async def until[T](look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` finds, as soon as it finds something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await look()):
            await asyncio.sleep(0.02)
    return found


async def was_clicked(exchange: Served, message: str) -> bool:
    """Whether the message's delivery says so, after the time that projections need."""

    async def look() -> bool:
        return any(row.get("clicked_at") or row["state"] == "clicked" for row in exchange.deliveries(message))

    return bool(await until(look))
