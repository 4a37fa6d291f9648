"""Receipts of one's own messages: never lost, and of nobody else's."""

from __future__ import annotations

import pytest

from tests.memory.site import Site, site

OPEN = {"tid": "news", "name": "News", "opens": True}
NOBODYS = "00000000-0000-8000-8000-000000000001"


async def published(it: Site, **more: object) -> str:
    """The message's address, sent by the thread's owner."""
    got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "hello", **more}, by="olga")
    assert (got.status_code, got.json()) == (200, True), got.text
    return got.headers["location"]


@pytest.mark.parametrize(
    ("uid", "more"),
    [
        ("bob", {}),
        ("olga", {}),
        ("dan", {}),
        ("ann", {"mid": NOBODYS}),
        ("ann", {"channel": "email"}),
        ("ann", {"client": NOBODYS}),
        ("ann", {"channel": "apns", "client": NOBODYS}),
    ],
    ids=["not subscribed", "its sender", "who takes no frames", "no message", "channel", "client", "device"],
)
@pytest.mark.parametrize("roles", [("dispatcher",), ()], ids=["dispatched", "not yet"])
async def test_a_receipt_of_what_one_was_not_sent_is_refused(
    uid: str, more: dict[str, str], roles: tuple[str, ...]
) -> None:
    """404, and nothing on the log: neither for others' messages nor for other channels or devices than one's own."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news", "mtypes": ["em"]}, by="dan")
        if not roles:
            await stop(it, "dispatcher")
        mid = (await published(it)).rpartition("/")[2]
        if roles:
            await it.settled()
        got = await it.call("POST", "/api/v2/receipts", {"mid": mid, "kind": "read", **more}, by=uid)
        assert (got.status_code, got.json()["field"]) == (404, "mid")
        assert it.world.facts("DELIVERY", "receipt.>") == []


@pytest.mark.parametrize("stopped", ["dispatcher", "project-delivery"])
@pytest.mark.parametrize("route", ["publish", "send", "broadcast"])
async def test_a_receipt_before_its_delivery_is_kept(stopped: str, route: str) -> None:
    """A socket shows a message before its page is written or read: what it says of it then is not lost."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        await stop(it, stopped)
        body = {"publish": {"tid": "news"}, "send": {"uid": "ann"}, "broadcast": {}}[route]
        sent = await it.call("POST", f"/api/v2/{route}", {"msg": "hello", **body}, by="boss", role="admin")
        location = sent.headers["location"]
        receipt = {"mid": location.rpartition("/")[2], "kind": "read"}
        assert await it.ok("POST", "/api/v2/receipts", receipt, by="ann") is True
        it.world.start(stopped)
        await it.settled()
        page = await it.admin("GET", f"{location}/deliveries")
        assert [(item["contact"], item["state"]) for item in page["items"]] == [("ann", "read")]


async def stop(it: Site, role: str) -> None:
    [running] = [one for one in it.world.running if one.role == role]
    await it.world.stop(running)


async def test_a_receipt_reaches_the_delivery() -> None:
    """Delivered and read become states of the caller's own delivery."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", OPEN, by="olga")
        await it.ok("POST", "/api/v2/subscribe", {"tid": "news"}, by="ann")
        location = await published(it)
        await it.settled()
        mid = location.rpartition("/")[2]
        assert await it.ok("POST", "/api/v2/receipts", {"mid": mid, "kind": "read"}, by="ann") is True
        await it.settled()
        page = await it.ok("GET", f"{location}/deliveries", by="olga")
        assert [(item["contact"], item["state"]) for item in page["items"]] == [("ann", "read")]
