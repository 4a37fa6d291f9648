"""Who may look into the sandbox: this machine's own browser and tools, and nobody through them.

The page hands out a token, so a request must come from loopback, name loopback as its host (DNS rebinding), come
from no other origin, and not through a proxy.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.sandbox.problem import problem

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MOUNTED_AT = "/sandbox"
FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class LoopbackOnly:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            reason = _objection(scope)
            if reason:
                await problem(403, f"the sandbox refuses this: {reason}")(scope, receive, send)
                return
            scope = _with_slash(scope)
        await self._app(scope, receive, send)


def _objection(scope: Scope) -> str:
    """Why not; "" when there is nothing against it."""
    headers = Headers(scope=scope)
    client = scope.get("client")
    host = headers.get("host", "")
    if not client or not is_loopback(client[0]):
        return "it comes from another machine"
    if any(name in headers for name in FORWARDING):
        return "it comes through a proxy"
    if _name_of(host) not in LOCAL_NAMES:
        return "it names another host"
    origin = headers.get("origin")
    if origin is not None and origin not in {f"http://{host}", f"https://{host}"}:
        return "it comes from another origin"
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return "it comes from another site"
    return ""


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _with_slash(scope: Scope) -> Scope:
    """`/sandbox` itself is the page too, whether it comes through a mount or a route of its own."""
    path = scope["path"]
    return {**scope, "path": path + "/", "root_path": path} if path == MOUNTED_AT else scope
