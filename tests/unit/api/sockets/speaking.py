"""What tests of web sockets say and hear."""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.memory.site import Site, said, say, token

OPEN = {"tid": "news", "name": "News", "opens": True}


async def subscribed(it: Site, socket: ClientConnection, uid: str = "ann", **more: Any) -> dict[str, Any]:
    """The answer to a subscribe frame."""
    await say(socket, slug="/api/v2/subscribe/thread", tid="news", jwt=token(uid), **more)
    answer: dict[str, Any] = await said(socket)
    return answer


async def publish(it: Site, text: str) -> None:
    """Publish, and wait until it has been dispatched: two that are accepted at once may go out in either order."""
    await it.ok("POST", "/api/v2/publish", {"tid": "news", "msg": text}, by="olga")
    await it.settled()


async def texts(socket: ClientConnection, count: int) -> list[str]:
    return [(await said(socket))["msg"] for _ in range(count)]
