from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from infra.sandbox import Hang, Sandbox
from infra.sandbox.books import Entry, Received

SETTINGS = {"tid": "demo", "token": "a.b.c", "ws_url": "ws://127.0.0.1:8000/api/v2/connect"}


async def demo_token() -> dict[str, str]:
    return SETTINGS


@pytest.fixture
async def shown(folder: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(folder, demo_token=demo_token) as sandbox:
        yield sandbox


def client(
    sandbox: Sandbox, *, peer: str = "127.0.0.1", base: str = "http://127.0.0.1:8000"
) -> httpx.AsyncClient:
    """A browser or tool at `peer`, with the sandbox mounted as the exchange mounts it."""
    app = Starlette(routes=[Route("/sandbox", sandbox.app), Mount("/sandbox", sandbox.app)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(peer, 4_000)), base_url=base)


async def book(
    sandbox: Sandbox, provider: str, address: str, *, arrived: bool = True, message_id: str = "m-1"
) -> None:
    done: list[OSError | None] = []
    received = Received(
        provider=provider,
        method="POST",
        target="/x",
        headers={"a": "b"},
        payload=b"{}",
        received_at=1.5,
        status=200,
    )
    entry = Entry(address=address, title="News", body="It rains", message_id=message_id)
    sandbox.books.append(received, [entry], arrived=arrived, then=done.append)
    await sandbox.books.query("SELECT 1", ())


async def test_what_arrived(shown: Sandbox) -> None:
    """Messages are listed by channel, its contract code or its name, with what a person would read."""
    for provider, address in (
        ("apns", "ab"),
        ("fcm", "cd"),
        ("sendgrid", "a@example.org"),
        ("smtp", "b@example.org"),
    ):
        await book(shown, provider, address)
    async with client(shown) as browser:
        answer = await browser.get("/sandbox/messages", params={"channel": "apns"})
        body = answer.json()
        assert body["total"] == 1
        (item,) = body["items"]
        wanted = {
            "address": "ab",
            "title": "News",
            "body": "It rains",
            "message_id": "m-1",
            "channel": "apns",
        }
        assert wanted.items() <= item.items()
        assert item["received_at"] == "1970-01-01T00:00:01.500Z"
        for name in ("email", "em"):
            assert (await browser.get("/sandbox/messages", params={"channel": name})).json()["total"] == 2
        assert (await browser.get("/sandbox/messages")).json()["total"] == 4
        frames = (await browser.get("/sandbox/messages", params={"channel": "websocket"})).json()
        assert (frames["items"], frames["total"]) == ([], 0)
        assert "/deliveries" in frames["note"]
        page = (await browser.get("/sandbox/messages", params={"after": 2, "limit": 1})).json()
        assert ([one["id"] for one in page["items"]], page["total"]) == ([3], 4)


async def test_a_messages_id_reads_as_in_rest(shown: Sandbox) -> None:
    """A gateway may send an id without its hyphens; here it reads, and is asked for, as in the exchange's REST."""
    mid = uuid.uuid4()
    await book(shown, "apns", "ab", message_id=mid.hex)
    await book(shown, "smtp", "a@example.org", message_id=str(mid))
    async with client(shown) as browser:
        for spelling in (str(mid), mid.hex):
            body = (await browser.get("/sandbox/messages", params={"message_id": spelling})).json()
            assert [item["message_id"] for item in body["items"]] == [str(mid), str(mid)]
        assert (await browser.get("/sandbox/messages", params={"message_id": "m-1"})).json()["total"] == 0


async def test_what_was_refused_is_asked_for(shown: Sandbox) -> None:
    """Refused and unanswered requests are left out until asked for, and each request can be looked into."""
    await book(shown, "apns", "ab", arrived=False)
    async with client(shown) as browser:
        assert (await browser.get("/sandbox/messages")).json() == {"items": [], "total": 0}
        (item,) = (await browser.get("/sandbox/messages", params={"refused": 1})).json()["items"]
        request = (await browser.get(f"/sandbox/requests/{item['request']}")).json()
        assert (request["target"], request["headers"], request["payload"]) == ("/x", {"a": "b"}, "{}")
        assert (await browser.get("/sandbox/requests/99")).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        {"after": "x"},
        {"limit": "-1"},
        {"channel": "no such!"},
        {"channel": "bogus"},
        {"after": "9" * 30},
        {"limit": "²"},
    ],
)
async def test_a_wrong_query_is_told(shown: Sandbox, query: dict[str, str]) -> None:
    """A query that cannot be gets 422 with a problem body."""
    async with client(shown) as browser:
        answer = await browser.get("/sandbox/messages", params=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_page_is_self_contained(shown: Sandbox) -> None:
    """One document, with or without a slash, that loads nothing from elsewhere."""
    async with client(shown) as browser:
        for path in ("/sandbox", "/sandbox/"):
            answer = await browser.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            for elsewhere in ('src="http', 'href="http', "@import", "url(http"):
                assert elsewhere not in answer.text


async def test_rules_over_http(shown: Sandbox) -> None:
    """Rules are posted one or many, listed with what is left, and deleted; wrong ones are refused whole."""
    one = {"channel": "apns", "address": "ab", "match": "exact", "count": 3, "action": {"type": "hang"}}
    async with client(shown) as browser:
        assert (await browser.post("/sandbox/rules", json=one)).status_code == 201
        many = [
            one,
            {"channel": "fcm", "action": {"type": "respond", "status": 503, "headers": {"retry-after": "9"}}},
        ]
        assert len((await browser.post("/sandbox/rules", json=many)).json()["items"]) == 3
        wrong = await browser.post(
            "/sandbox/rules", json=[one, {"channel": "apns", "action": {"type": "no"}}]
        )
        assert wrong.status_code == 422
        listed = (await browser.get("/sandbox/rules")).json()["items"]
        assert [rule["channel"] for rule in listed] == ["apns", "apns", "fcm"]
        rule = shown.rules.take(("apns",), ("ab",))
        assert rule is not None
        assert isinstance(rule.action, Hang)
        assert (await browser.get("/sandbox/rules")).json()["items"][0]["count"] == 2
        assert (await browser.delete("/sandbox/rules")).status_code == 204
        assert (await browser.get("/sandbox/rules")).json() == {"items": []}


async def test_a_browser_can_be_minted(shown: Sandbox) -> None:
    """The answer has the shape a browser hands to its page."""
    async with client(shown) as browser:
        answer = await browser.post("/sandbox/subscriptions", json={"application_server_key": "BK"})
        made = answer.json()
    assert answer.status_code == 201
    assert made["endpoint"].startswith(shown.urls.webpush)
    assert {*made["keys"]} == {"p256dh", "auth"}


async def test_a_phone_can_be_minted(shown: Sandbox) -> None:
    """The answer is what a phone's app would enlist with; another system than these two is told."""
    async with client(shown) as browser:
        for os in ("ios", "android"):
            answer = await browser.post("/sandbox/devices", json={"os": os})
            assert (answer.status_code, answer.json()["os"], len(answer.json()["token"]) > 60) == (
                201,
                os,
                True,
            )
        assert (await browser.post("/sandbox/devices", json={"os": "symbian"})).status_code == 422


async def test_the_demos_token_is_for_this_machine(shown: Sandbox) -> None:
    """The token is handed to this machine's own page."""
    async with client(shown) as browser:
        answer = await browser.get("/sandbox/demo", headers={"origin": "http://127.0.0.1:8000"})
        assert answer.json() == SETTINGS
        assert answer.headers["cache-control"] == "no-store"
    async with client(shown, base="http://localhost:8000", peer="::1") as browser:
        assert (await browser.get("/sandbox/demo")).status_code == 200


async def test_without_an_exchange_there_is_no_token(folder: Path) -> None:
    """A sandbox alone has nothing to publish with, and says so."""
    async with Sandbox(folder) as sandbox, client(sandbox) as browser:
        assert (await browser.get("/sandbox/demo")).status_code == 404


@pytest.mark.parametrize(
    ("place", "headers"),
    [
        ({"peer": "192.0.2.7"}, {}),
        ({"peer": "::ffff:192.0.2.7"}, {}),
        ({"base": "http://rebound.example.org:8000"}, {}),
        ({"base": "http://127.0.0.1.example.org"}, {}),
        ({}, {"host": "["}),
        ({}, {"origin": "http://evil.example.org"}),
        ({}, {"origin": "http://127.0.0.1:9999"}),
        ({}, {"origin": "null"}),
        ({}, {"sec-fetch-site": "cross-site"}),
        ({}, {"sec-fetch-site": "same-site"}),
        ({}, {"x-forwarded-for": "127.0.0.1"}),
        ({}, {"forwarded": "for=127.0.0.1"}),
    ],
)
async def test_strangers_are_refused(shown: Sandbox, place: dict[str, Any], headers: dict[str, str]) -> None:
    """Another machine, a rebound name, another origin or a proxy gets 403 for everything."""
    async with client(shown, **place) as browser:
        for path in ("/sandbox", "/sandbox/demo", "/sandbox/messages"):
            answer = await browser.get(path, headers=headers)
            assert answer.status_code == 403
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"].startswith("the sandbox refuses this: ")
            assert SETTINGS["token"] not in answer.text
        assert (await browser.delete("/sandbox/rules", headers=headers)).status_code == 403


async def test_what_there_is_not_is_a_problem(shown: Sandbox) -> None:
    """A page that there is not, and a method that a page has not: the latter says which it has."""
    async with client(shown) as browser:
        for method, path, status in (("GET", "/sandbox/nothing", 404), ("PATCH", "/sandbox/messages", 405)):
            answer = await browser.request(method, path)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.json()["detail"] == "use GET, HEAD"
