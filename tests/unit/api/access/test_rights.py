"""Who may call what: every route of the table, by every kind of caller, over realms and owners."""

from __future__ import annotations

import time
from typing import Any

import httpx

from api.app import all_routes
from api.route import Route, Who
from tests.memory.site import Site, site, token

MID = "0bb12456-35e6-8422-bf9e-40c8184523d3"
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/v2/publish"): {"tid": "news", "msg": "hello"},
    ("POST", "/api/v2/send"): {"uid": "sue", "msg": "hello"},
    ("POST", "/api/v2/multicast"): {"uids": ["sue"], "msg": "hello"},
    ("POST", "/api/v2/broadcast"): {"msg": "hello"},
    ("POST", "/api/v2/cancel"): {"mid": "MID"},
    ("POST", "/api/v2/execute/message"): {"mid": "MID"},
    ("POST", "/api/v2/subscribe"): {"tid": "news"},
    ("POST", "/api/v2/unsubscribe"): {"tid": "news"},
    ("POST", "/api/v2/enlist"): {"os": "ios", "token": "aa" * 32},
    ("POST", "/api/v2/receipts"): {"mid": "MID", "kind": "read"},
    ("POST", "/api/v2/threads"): {"name": "another"},
    ("PUT", "/api/v2/threads/{tid}"): {"name": "News"},
    ("PUT", "/api/v2/contacts/{uid}"): {"locale": "en"},
    ("POST", "/api/v2/apps"): {"code": "APP-1"},
    ("PUT", "/api/v2/apps/{code}"): {"name": "Shop"},
    ("POST", "/api/v2/apps/{code}/messages"): {"msg": "hello"},
}
"""What each route with a body is called with. A new one must be added here, and so be walked."""

OWNED: dict[tuple[str, str], dict[str, int]] = {
    ("POST", "/api/v2/publish"): {"olga": 200, "ada": 200, "paul": 200, "sue": 403, "eve": 404},
    ("POST", "/api/v2/subscribe"): {"olga": 200, "ada": 200, "paul": 403, "sue": 200, "eve": 404},
    ("POST", "/api/v2/unsubscribe"): {"olga": 200, "ada": 200, "paul": 200, "sue": 200, "eve": 404},
    ("GET", "/api/v2/messages/{mid}"): {"olga": 200, "ada": 200, "paul": 200, "sue": 404, "eve": 404},
    ("GET", "/api/v2/messages/{mid}/deliveries"): {
        "olga": 200,
        "ada": 200,
        "paul": 200,
        "sue": 404,
        "eve": 404,
    },
    ("PUT", "/api/v2/threads/{tid}"): {"olga": 200, "ada": 200, "paul": 403, "sue": 403, "eve": 404},
    ("GET", "/api/v2/threads/{tid}"): {"olga": 200, "ada": 200, "paul": 200, "sue": 200, "eve": 404},
    ("DELETE", "/api/v2/threads/{tid}"): {"olga": 200, "ada": 200, "paul": 403, "sue": 403, "eve": 404},
    ("GET", "/api/v2/threads/{tid}/subscribers"): {
        "olga": 200,
        "ada": 200,
        "paul": 403,
        "sue": 403,
        "eve": 404,
    },
    ("GET", "/api/v2/threads/{tid}/messages"): {
        "olga": 200,
        "ada": 200,
        "paul": 403,
        "sue": 403,
        "eve": 404,
    },
}
"""What a thread's owner (olga), admin (ada), publisher (paul), member (sue) and a stranger (eve) get.

The message was sent by paul; the thread is closed to newcomers, and an admin made sue a member.
"""


async def prepared(it: Site) -> str:
    """The thread, its people and a message; the message's id."""
    body = {"tid": "news", "name": "News", "admins": ["ada"], "pubs": ["paul"]}
    await it.ok("POST", "/api/v2/threads", body, by="olga")
    await it.admin("POST", "/api/v2/subscribe", {"tid": "news", "uid": "sue"})
    got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "ours alone"}, by="paul")
    return got.headers["location"].rpartition("/")[2]


async def request(it: Site, route: Route, mid: str, headers: dict[str, str]) -> httpx.Response:
    names = {
        "tid": "news",
        "mid": mid,
        "uid": "sue",
        "client": MID,
        "name": "messages_recent",
        "code": "APP-1",
    }
    body = BODIES.get((route.method, route.path))
    if body is not None and body.get("mid") == "MID":
        body = {**body, "mid": mid}
    path = route.path.format(**names)
    return await it.call(route.method, path, body, by=None, headers=headers)


def by(uid: str, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(uid, **more)}"}


def called(it: Site) -> list[Route]:
    elsewhere = {Who.SHOP, Who.PROVIDER, Who.DEVICE, Who.LINK}
    return [route for route in all_routes(it.parts, it.live) if route.who not in elsewhere]


async def test_every_route_that_takes_a_body_is_walked() -> None:
    """A new route must say here what it is called with."""
    async with site() as it:
        with_body = {(route.method, route.path) for route in called(it) if route.body is not None}
        assert with_body == set(BODIES)
        rights = {(route.method, route.path) for route in called(it) if route.who is Who.RIGHTS}
        assert rights == set(OWNED)


async def test_without_a_good_token_only_open_routes_answer() -> None:
    """No token, an expired one, a foreign one, one without a signature: 401 with WWW-Authenticate, as a problem."""
    async with site() as it:
        mid = await prepared(it)
        unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvbGdhIiwiZXhwIjo5OTk5OTk5OTk5fQ."
        bad: list[dict[str, str]] = [
            {},
            by("olga", ttl_s=-10),
            by("olga", secret=b"somebody else's secret of 32 bytes"),
            {"Authorization": f"Bearer {unsigned}"},
            {"Authorization": "Basic b2xnYTpvbGdh"},
        ]
        for route in called(it):
            for headers in bad:
                got = await request(it, route, mid, headers)
                if route.who is Who.ANYONE:
                    assert got.status_code == route.statuses[0], (route.path, got.text)
                else:
                    assert got.status_code == 401, (route.path, got.text)
                    assert got.headers["www-authenticate"].startswith("Bearer ")
                    assert got.headers["content-type"] == "application/problem+json"


async def test_admin_routes_are_for_admins() -> None:
    """A token without the role gets 403, whoever it is; both of the contract's roles are let in."""
    async with site() as it:
        mid = await prepared(it)
        for route in called(it):
            if route.who is not Who.ADMIN:
                continue
            for uid in ("olga", "eve"):
                got = await request(it, route, mid, by(uid, roles=["user", "superadmin"]))
                assert (got.status_code, got.json()["code"]) == (403, "forbidden"), route.path
            for role in ("admin", "msgxc_admin"):
                got = await request(it, route, mid, by("boss", role=role))
                assert got.status_code in (200, 201, 404, 409), (route.path, got.text)


async def test_threads_and_messages_open_to_those_who_have_the_right() -> None:
    """Owner, admin, publisher, member and stranger each get what the table says, on every such route."""
    for key, expected in OWNED.items():
        for uid, status in expected.items():
            async with site() as it:
                mid = await prepared(it)
                [route] = [route for route in called(it) if (route.method, route.path) == key]
                got = await request(it, route, mid, by(uid))
                assert got.status_code == status, (key, uid, got.text)


async def test_another_realm_sees_nothing() -> None:
    """The same names and ids in another realm lead to nothing of this one, for admins there, too."""
    async with site() as it:
        mid = await prepared(it)
        await it.settled()
        before = len(it.world.facts("EVENTS"))
        for route in called(it):
            if route.who in (Who.ANYONE, Who.TOKEN) or route.method == "PUT":
                continue
            for headers in (by("olga", realm="other"), by("boss", role="admin", realm="other")):
                got = await request(it, route, mid, headers)
                if got.status_code in (200, 201):
                    assert "ours alone" not in got.text, route.path
                    assert "paul" not in got.text, route.path
                else:
                    assert got.status_code in (403, 404), (route.path, got.text)
        ours = [fact for fact in it.world.facts("EVENTS") if fact.realm == "main"]
        assert len(ours) == before


async def test_a_services_token_publishes_everywhere_and_reads_nothing() -> None:
    """The contract's method `svc` may publish to any thread of its realm, and has no other right by that."""
    async with site() as it:
        mid = await prepared(it)
        service = by("robot", method="svc")
        got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "hi"}, by=None, headers=service)
        assert got.status_code == 200
        for path in (f"/api/v2/messages/{mid}", "/api/v2/threads/news/messages"):
            assert (await it.call("GET", path, by=None, headers=service)).status_code in (403, 404)


async def test_a_revoked_right_is_gone_within_a_second() -> None:
    """A publisher who is taken off the thread gets 403 or 404 at once, and reads it no more."""
    async with site() as it:
        await prepared(it)
        await it.ok("PUT", "/api/v2/threads/news", {"name": "News"}, by="olga")
        began_s = time.monotonic()
        got = await it.call("POST", "/api/v2/publish", {"tid": "news", "msg": "hi"}, by="paul")
        assert got.status_code == 404
        assert (await it.call("GET", "/api/v2/threads/news", by="paul")).status_code == 404
        assert time.monotonic() - began_s < 1
