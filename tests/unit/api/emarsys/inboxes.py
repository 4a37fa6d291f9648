"""A phone that is sent messages and looks into its inbox, as either generation does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx

from commands.messaging import Draft, SendToApp
from tests.memory.phone import APP, V3_NAMES, Phone, started
from tests.memory.site import Site

V4_NAMES = ("ec-client-id", "ec-client-state", "ec-contact")
EMBEDDED = f"/embedded-messaging/api/v1/{APP}"


async def call(phone: Phone, method: str, path: str, body: Any = None) -> httpx.Response:
    names = V3_NAMES if path.startswith(("/v3", "/v4")) else V4_NAMES
    held = zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value}
    return await phone.it.call(method, path, body, by=None, headers=headers)


async def send(phone: Phone, text: str, *, app: str = APP, **more: Any) -> str:
    """To the phone's contact, from an app; the message's id. It is in the inbox when this returns."""
    world = phone.it.world
    contact = UUID(phone.says["contactReference"])
    draft = Draft(text=text, subject=more.pop("subject", "Shop"), ttl_s=86_400, **more)
    accepted = await world.do(SendToApp(app=app, draft=draft, contacts=(contact,)))
    await world.quiet()
    return str(accepted.message)


async def reachable(it: Site, **given: str) -> Phone:
    phone = await started(it, **given)
    await phone.call("PUT", "/client/push-token", {"pushToken": f"token:{phone.client_id}"})
    return phone


async def inbox(phone: Phone) -> list[dict[str, Any]]:
    got = await call(phone, "GET", f"/v3/apps/{APP}/inbox")
    assert got.status_code == 200
    messages: list[dict[str, Any]] = got.json()["messages"]
    return messages


def change(id: str, tag: str, operation: str = "add") -> dict[str, str]:
    return {"messageId": id, "operation": operation, "tag": tag, "trackingInfo": "t"}
