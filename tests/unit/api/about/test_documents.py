"""The OpenAPI document and the pages: they say what is served, and load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape

import pytest
from schemathesis.openapi import from_dict
from starlette.responses import PlainTextResponse

from api.app import all_routes
from api.http.problem import every_error
from api.msgxc import stream
from tests.memory.site import site


async def test_what_people_call_is_described_before_what_sdks_call() -> None:
    """However hot device events are, the page begins with messages; each group has one place."""
    async with site() as it:
        groups = [tag["name"] for tag in (await it.ok("GET", "/openapi.json", by=None))["tags"]]
        assert (groups[:2], sorted(groups[-2:])) == (
            ["messages", "threads"],
            ["client service", "device events"],
        )
        assert len(groups) == len(set(groups))


async def test_the_document_lists_every_route_and_who_may_call_it() -> None:
    """OpenAPI 3.1; each operation has a security requirement, a summary, its answers and its errors."""
    async with site() as it:
        api = await it.ok("GET", "/openapi.json", by=None)
        assert api["openapi"] == "3.1.0"
        listed = {(method.upper(), path) for path, of in api["paths"].items() for method in of}
        served = {(route.method, route.path) for route in all_routes(it.parts, it.live)}
        assert listed == served | {("GET", stream.PATH)}
        ids = [of["operationId"] for methods in api["paths"].values() for of in methods.values()]
        assert len(ids) == len(set(ids))
        publish = api["paths"]["/api/v2/publish"]["post"]
        assert publish["security"] == [{"token": []}]
        errors = {"400", "401", "403", "404", "408", "413", "415", "422", "429", "500", "503"}
        assert set(publish["responses"]) == {"200"} | errors
        assert "Location" in publish["responses"]["200"]["headers"]
        assert any(one["name"] == "Idempotency-Key" for one in publish["parameters"])
        assert api["paths"]["/ping"]["get"]["security"] == []
        limit = api["paths"]["/api/v2/threads"]["get"]["parameters"][1]
        assert (limit["name"], limit["schema"]["maximum"], limit["in"]) == ("limit", 500, "query")
        assert "admin" in api["paths"]["/api/v2/broadcast"]["post"]["description"]


DEVICES = [
    ("post", "/v3/apps/{app}/client", "204 400 401 408 413 415 429 500 503"),
    ("post", "/v3/apps/{app}/client/contact", "200 400 401 402 408 413 415 429 500 503"),
    ("post", "/v3/apps/{app}/client/contact-token", "200 400 408 413 415 500 503"),
    ("get", "/v3/apps/{app}/geo-fences", "200 304 400 401 404 429 500 503"),
    ("post", "/v3/contact-token", "200 400 402 408 413 415 429 500 503"),
    ("delete", "/v3/contact-token", "204 400 429 500 503"),
    ("post", "/v4/apps/{app}/client", "200 204 400 401 408 413 415 429 500 503"),
    ("post", "/v4/apps/{app}/client/contact-token", "200 400 408 413 415 500 503"),
    ("post", "/v4/apps/{app}/client/app", "200 400 401 408 413 415 429 500 503"),
    ("post", "/v5/apps/{app}/client/events", "200 204 400 401 408 413 415 429 500 503"),
    ("get", "/embedded-messaging/api/v1/{app}/messages", "200 400 401 429 500 503"),
]


@pytest.mark.parametrize(("method", "path", "statuses"), DEVICES)
async def test_the_document_says_what_devices_are_answered(method: str, path: str, statuses: str) -> None:
    """The statuses of their contract, not ours, and its form of an error."""
    async with site() as it:
        api = await it.ok("GET", "/openapi.json", by=None)
        responses = api["paths"][path][method]["responses"]
        assert " ".join(sorted(responses)) == statuses
        is_v3 = path.startswith("/v3")
        media_type, name = (
            ("application/problem+json", "Problem") if is_v3 else ("application/json", "V4Failure")
        )
        schema = {"$ref": f"#/components/schemas/{name}"}
        assert responses["400"]["content"] == {media_type: {"schema": schema}}


async def test_the_document_is_one_that_tools_can_read() -> None:
    """Every reference leads somewhere, and schemathesis loads all operations."""
    async with site() as it:
        text = (await it.call("GET", "/openapi.json", by=None)).text
        api = await it.ok("GET", "/openapi.json", by=None)
        for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
            assert name in api["components"]["schemas"]
        schema = from_dict(api)
        operations = [type(result).__name__ for result in schema.get_all_operations()]
        assert set(operations) == {"Ok"}
        assert len(operations) == sum(len(methods) for methods in api["paths"].values())


async def test_the_pages_run_nothing_but_what_stands_in_them() -> None:
    """No address of another host; the policy allows the page's own script and style by their hashes."""
    async with site() as it:
        for path in ("/docs", "/docs/errors"):
            got = await it.call("GET", path, by=None)
            assert got.headers["content-type"] == "text/html; charset=utf-8"
            assert not re.search(r"(src|href)=[\"']?(https?:)?//", got.text)
            policy = got.headers["content-security-policy"]
            assert "unsafe" not in policy
            for kind, content in re.findall(r"<(script|style)>(.*?)</\1>", got.text, re.DOTALL):
                digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
                assert f"{kind}-src 'sha256-{digest}'" in policy


async def test_the_bare_address_leads_to_where_one_begins() -> None:
    """The sandbox's page where there is one, else the API's."""
    async with site() as it:
        got = await it.call("GET", "/", by=None)
        assert (got.status_code, got.headers["location"]) == (307, "/docs")
    async with site(sandbox=PlainTextResponse("page")) as it:
        got = await it.call("GET", "/", by=None)
        assert (got.status_code, got.headers["location"]) == (307, "/sandbox/")
        assert (await it.call("GET", "/sandbox/", by=None)).text == "page"


async def test_every_error_has_its_place_on_the_errors_page() -> None:
    """A problem's type leads to the words about its code."""
    async with site() as it:
        page = (await it.call("GET", "/docs/errors", by=None)).text
        ids = re.findall(r'<article id="([a-z-]+)">', page)
        assert len(ids) == len(set(ids))
        assert set(ids) == {error.code for error in every_error()}
        for error in every_error():
            said = error.__doc__
            # What a class says of itself is for those who read the code.
            assert said is None or said.split("\n")[0] not in unescape(page), error
