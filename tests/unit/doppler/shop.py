"""A superuser, and a site in memory that serves web domains."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from domain.deliveries.channel import FCM, WEBPUSH
from gateways.port import AppSender
from tests.memory.site import Site, site
from tests.memory.world import ROLES as ALL_ROLES

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DOMAIN = "example.org"
MESSAGE = {"title": "Hello", "body": "There is news", "onClickLink": "https://example.org/news"}


def su(key: rsa.RSAPrivateKey = KEY, *, ttl_s: float = 86_400, **claims: Any) -> dict[str, str]:
    said = {"isSU": True, "exp": int(time.time() + ttl_s), **claims}
    return {"Authorization": f"Bearer {jwt.encode(said, key, algorithm='RS256')}"}


@asynccontextmanager
async def doppler_site(*, sending: bool = False) -> AsyncIterator[Site]:
    """sending: with everything between a message and its outcomes at work."""
    roles = (*ALL_ROLES, f"gateway-{FCM}", f"gateway-{WEBPUSH}") if sending else None
    more: dict[str, Any] = {} if roles is None else {"roles": roles}
    async with site(superusers=[KEY.public_key()], **more) as it:
        yield it


async def ask(
    it: Site, method: str, path: str, body: Any = None, *, by: dict[str, str] | None = None, **query: Any
) -> httpx.Response:
    """By None: a superuser; {}: nobody."""
    headers = su() if by is None else by
    return await it.client.request(method, path, json=body, headers=headers, params=query or None)


async def domain(it: Site, name: str = DOMAIN, *, enabled: bool = True) -> None:
    got = await ask(it, "PUT", f"/domains/{name}", {"isPushFeatureEnabled": enabled})
    assert got.status_code == 200, got.text
    it.world.senders.add(AppSender(code=name, style="doppler"))
    await it.settled()


async def contact(it: Site, token: str, **fields: Any) -> None:
    body = {"domain": DOMAIN, "deviceToken": token, **fields}
    got = await ask(it, "POST", "/push-contacts", body, by={})
    assert (got.status_code, got.content) == (200, b""), got.text
    await it.settled()
