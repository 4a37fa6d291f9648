"""A slip of the pen is refused and named, on every route that is our own: nothing it says is passed over."""

from __future__ import annotations

import pytest

from api.app import all_routes
from api.route import Route
from tests.memory.site import Site, site

PHONES = ("aa" * 32, "bb" * 32)


async def walked(it: Site, *, refusing: bool = False) -> list[tuple[Route, str]]:
    """Our own routes and their paths, which lead nowhere; or those that take no body."""
    found = [route for route in all_routes(it.parts, it.live) if route.is_exact]
    paths = dict.fromkeys(("tid", "uid", "mid", "code", "name", "client"), "x")
    return [(each, each.path.format(**paths)) for each in found if each.refuses_body or not refusing]


async def two_phones(it: Site) -> list[str]:
    for phone in PHONES:
        await it.ok("POST", "/api/v2/enlist", {"os": "ios", "token": phone})
    return [item["client"] for item in (await it.ok("GET", "/api/v2/clients"))["items"]]


async def test_no_route_of_ours_passes_over_a_parameter() -> None:
    """422 with its name, before anything is done, on routes that take parameters and on those that take none."""
    async with site() as it:
        routes = await walked(it)
        assert len(routes) > 25
        for route, path in routes:
            got = await it.call(route.method, f"{path}?clinet=1", b"{", by="boss", role="admin")
            problem = got.json()
            said = (got.status_code, problem["field"])
            assert said == (422, "clinet"), (route.method, route.path, got.text)
            assert problem["detail"].startswith("there is no such parameter: "), problem


async def test_no_route_of_ours_without_a_body_passes_one_over() -> None:
    """422 beside what changes something and takes none; none at all, and an empty object, are nothing."""
    async with site() as it:
        routes = await walked(it, refusing=True)
        assert {"/api/v2/clients", "/api/v2/threads/{tid}", "/api/v2/apps/{code}/refresh"} <= {
            route.path for route, _ in routes
        }
        for route, path in routes:
            for body in (b'{"client":"x"}', b"null", b"client=x"):
                got = await it.call(route.method, path, body, by="boss", role="admin")
                assert (got.status_code, got.json()["field"]) == (422, "body"), (route.path, got.text)
            for body in (b"", b"{}", b" {}\n"):
                got = await it.call(route.method, path, body, by="boss", role="admin")
                assert got.status_code in (200, 404), (route.path, got.text)


@pytest.mark.parametrize(
    ("query", "body"), [("?clinet={}", None), ("", {"client": "{}"}), ("?client={}&client={}", None)]
)
async def test_one_device_misspelt_is_not_all_of_them(query: str, body: dict[str, str] | None) -> None:
    """Who meant to forget one device and did not say so rightly forgets none."""
    async with site() as it:
        one, other = await two_phones(it)
        got = await it.call("DELETE", "/api/v2/clients" + query.format(one, other), body)
        assert got.status_code == 422, got.text
        assert len((await it.ok("GET", "/api/v2/clients"))["items"]) == 2
        await it.ok("DELETE", f"/api/v2/clients?client={one}")
        assert [item["client"] for item in (await it.ok("GET", "/api/v2/clients"))["items"]] == [other]
        await it.ok("DELETE", "/api/v2/clients", {})
        assert (await it.ok("GET", "/api/v2/clients"))["items"] == []


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("clients?client=1", "client", "there are none"),
        ("threads?Limit=2", "Limit", "did you mean limit?"),
        ("threads?page=2", "page", "there are cursor, limit"),
        ("threads?limit=2&limit=3", "limit", "limit is there twice"),
        ("threads?limit=-1", "limit", "expected a whole number >= 1"),
        ("reports/messages_recent?limit=-1", "limit", "there are none"),
        ("events?afer=5", "afer", "did you mean after?"),
        ("stream?tids=a", "tids", "did you mean tid?"),
    ],
)
async def test_the_parameter_that_was_meant_is_named(path: str, field: str, words: str) -> None:
    """The nearest one there is, or all of them."""
    async with site() as it:
        got = await it.call("GET", f"/api/v2/{path}", by="boss", role="admin")
        assert (got.status_code, got.json()["field"]) == (422, field), got.text
        assert words in got.json()["detail"]


async def test_what_is_open_passes_parameters_over() -> None:
    """Programs that look whether somebody is there add their own, to get no answer of yesterday."""
    async with site() as it:
        for path in ("/ping", "/livez", "/docs", "/api/v2/status/dbver"):
            assert (await it.call("GET", f"{path}?at=1", by=None)).status_code == 200
