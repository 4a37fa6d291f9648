"""The doppler contract's table: each endpoint, with each status that it answers."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest

from api.about.openapi import document
from api.doppler.table import ROUTES
from api.route import Route, Who
from tests.unit.doppler.shop import (
    DOMAIN,
    MESSAGE,
    STRANGER,
    ask,
    contact,
    domain,
    doppler_site,
    su,
)

SUBSCRIPTION = {"endPoint": "https://push.example.org/1", "keys": {"p256DH": "BPub", "auth": "c2VjcmV0"}}
MID = str(uuid4())
SPAN = "from=2020-01-01&to=2030-01-01"

CASES: list[tuple[str, str, Any, int]] = [
    ("POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": "new"}, 200),
    ("POST", "/push-contacts", {"DOMAIN": DOMAIN, "devicetoken": "new-2"}, 200),
    ("POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": "down-1"}, 200),
    ("POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": "bad-1", "subscription": SUBSCRIPTION}, 200),
    ("POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": "bad-2"}, 400),
    ("POST", "/push-contacts", {"domain": DOMAIN, "deviceToken": " "}, 400),
    ("POST", "/push-contacts", {"deviceToken": "x"}, 400),
    ("PUT", "/push-contacts/known/subscription", SUBSCRIPTION, 200),
    ("PUT", "/push-contacts/unknown/subscription", SUBSCRIPTION, 404),
    ("PUT", "/push-contacts/known/subscription", {**SUBSCRIPTION, "endPoint": "push/1"}, 400),
    ("PUT", "/push-contacts/known/subscription", {"endPoint": "https://push.example.org/1"}, 400),
    ("PUT", "/push-contacts/known/subscription", None, 400),
    ("PUT", "/push-contacts/known/email", "ann@example.org", 200),
    ("PUT", "/push-contacts/unknown/email", "ann@example.org", 200),
    ("PUT", "/push-contacts/known/email", "", 200),
    ("PUT", "/push-contacts/known/email", "a" * 321, 400),
    ("PUT", "/push-contacts/known/email", None, 400),
    ("PUT", "/push-contacts/known/visitor-guid", "v-2", 200),
    ("PUT", "/push-contacts/known/visitor-guid", " ", 400),
    ("GET", f"/push-contacts?domain={DOMAIN}", None, 200),
    ("GET", f"/push-contacts?domain={DOMAIN}&email=nobody@example.org", None, 404),
    ("GET", "/push-contacts?domain=elsewhere.org", None, 404),
    ("GET", "/push-contacts", None, 400),
    ("GET", f"/push-contacts?domain={DOMAIN}&modifiedFrom=2026-02-01&modifiedTo=2026-01-01", None, 400),
    ("GET", f"/push-contacts/{DOMAIN}/v-1", None, 200),
    ("GET", f"/push-contacts/{DOMAIN}/%20", None, 400),
    ("GET", f"/push-contacts/visitor-guids?domain={DOMAIN}", None, 200),
    ("GET", f"/push-contacts/visitor-guids?domain={DOMAIN}&per_page=1001", None, 400),
    ("GET", f"/push-contacts/visitor-guids?domain={DOMAIN}&per_page=0", None, 400),
    ("GET", "/push-contacts/domains?page=0&per_page=10", None, 200),
    ("GET", "/push-contacts/domains?page=-1&per_page=10", None, 400),
    ("GET", "/push-contacts/domains?page=0&per_page=101", None, 400),
    ("GET", f"/push-contacts/messages/delivery-results?page=0&per_page=10&{SPAN}", None, 200),
    ("GET", "/push-contacts/messages/delivery-results?from=2030-01-01&to=2020-01-01", None, 400),
    ("POST", "/push-contacts/x/messages/y/clicked", None, 400),
    ("POST", "/push-contacts/x/messages/y/received", None, 400),
    ("POST", "/push-contacts/x/messages/y/actionClick/buy", None, 400),
    ("POST", "/message", {"domain": DOMAIN, "message": MESSAGE}, 200),
    ("POST", "/message", {"domain": "", "message": MESSAGE}, 400),
    ("POST", "/message", {"domain": DOMAIN}, 400),
    ("POST", f"/messages/domains/{DOMAIN}", MESSAGE, 202),
    ("POST", f"/message/domains/{DOMAIN}", MESSAGE, 202),
    ("POST", f"/messages/domains/{DOMAIN}", {**MESSAGE, "title": ""}, 400),
    ("POST", f"/messages/domains/{DOMAIN}", {**MESSAGE, "body": None}, 400),
    ("POST", f"/messages/domains/{DOMAIN}", {**MESSAGE, "onClickLink": "http://example.org"}, 400),
    ("POST", f"/messages/domains/{DOMAIN}", {**MESSAGE, "imageUrl": "/a.png"}, 400),
    ("POST", f"/messages/domains/{DOMAIN}", {**MESSAGE, "iconUrl": "a"}, 400),
    ("POST", "/messages/domains/elsewhere.org", MESSAGE, 400),
    ("POST", f"/messages/{MID}/visitors/v-1/send", {}, 404),
    ("POST", "/messages/no-uuid/visitors/v-1/send", {}, 400),
    ("POST", f"/messages/{MID}/visitors/send", {"visitorsFieldsList": [{"visitorGuid": "v-1"}]}, 404),
    ("PUT", f"/domains/{DOMAIN}", {"isPushFeatureEnabled": True}, 200),
    ("GET", f"/domains/{DOMAIN}", None, 200),
    ("GET", "/domains/elsewhere.org", None, 404),
    ("GET", f"/domains/{DOMAIN}/isPushFeatureEnabled", None, 200),
    ("GET", "/domains/elsewhere.org/isPushFeatureEnabled", None, 404),
    ("GET", f"/domains/{DOMAIN}/push-configuration", None, 200),
    ("GET", "/domains/elsewhere.org/push-configuration", None, 404),
    ("GET", f"/domains/{DOMAIN}/stats", None, 200),
    ("GET", "/domains/elsewhere.org/stats", None, 404),
    ("GET", f"/domains/{DOMAIN}/push-sends-consumed-count?{SPAN}", None, 200),
    ("GET", f"/domains/{DOMAIN}/push-sends-consumed-count", None, 400),
    ("GET", f"/domains/{DOMAIN}/messages/{MID}/stats?{SPAN}", None, 200),
    ("GET", f"/domains/{DOMAIN}/messages/{MID}/stats?from=2030-01-01&to=2020-01-01", None, 400),
    (
        "GET",
        f"/domains/{DOMAIN}/messages/stats/grouped?messageIds={MID}&messageIds={uuid4()}&{SPAN}",
        None,
        200,
    ),
    ("GET", f"/domains/{DOMAIN}/messages/stats/grouped?{SPAN}", None, 400),
    ("GET", f"/domains/{DOMAIN}/messages/stats/grouped?messageIds={MID}&period=hour&{SPAN}", None, 400),
    ("DELETE", "/push-contacts/_bulk", ["known", "unknown"], 200),
    ("POST", "/history-events/_bulk", [{"deviceToken": "known", "sentSuccess": True, "messageId": MID}], 200),
    ("POST", f"/push-contacts/{DOMAIN}/message", MESSAGE, 202),
    ("POST", f"/push-contacts/{DOMAIN}/v-1/message", MESSAGE, 200),
    ("POST", f"/message/{MID}", "v-1", 404),
    ("GET", f"/push-contacts/{DOMAIN}/messages/{MID}/details?{SPAN}", None, 200),
    ("GET", f"/push-contacts/{DOMAIN}/visitor-guids?page=0&per_page=1000", None, 200),
    ("GET", f"/push-contacts/{DOMAIN}/visitor-guids?page=0&per_page=1001", None, 400),
]


def statuses(route: Route) -> set[int]:
    """What the OpenAPI document says of it; 503, the log being away, among them."""
    found = {
        int(status)
        for status in document([route], version="1")["paths"][route.path][route.method.lower()]["responses"]
    }
    assert 503 in found, route.path
    return found


def pattern_of(path: str) -> str:
    """The path of the route that answers."""
    parts = path.partition("?")[0].split("/")
    fitting = (
        each.path
        for each in ROUTES
        if len(each.path.split("/")) == len(parts)
        and all(
            want.startswith("{") or want == part
            for want, part in zip(each.path.split("/"), parts, strict=True)
        )
    )
    exact = path.partition("?")[0]
    return exact if any(each.path == exact for each in ROUTES) else next(fitting)


async def test_every_row_answers_as_the_table_says() -> None:
    """Each endpoint gives each of its statuses for the request that leads to it."""
    async with doppler_site() as it:
        await domain(it)
        await contact(it, "known", visitorGuid="v-1", email="known@example.org")
        wrong = []
        documented = {(route.method, route.path): statuses(route) for route in ROUTES}
        for method, path, body, status in CASES:
            if method == "DELETE":
                await it.settled()
            got = await ask(it, method, path, body)
            if got.status_code != status:
                wrong.append((method, path, body, got.status_code, got.text))
            assert status in documented[method, pattern_of(path)], (method, path, "is not documented")
            await it.settled()
        assert wrong == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (su(STRANGER), 401),
        (su(ttl_s=-10), 401),
        (su(isSU=False), 403),
        (su(isSU="no"), 403),
        (su(isSU=None), 403),
        (su(nbf=time.time() + 3_000), 401),
        (su(nbf="soon"), 401),
    ],
)
async def test_who_is_no_superuser_is_refused_everywhere(headers: dict[str, str], status: int) -> None:
    """401 without a good token, 403 without the claim, on every endpoint that is not open."""
    async with doppler_site() as it:
        for route in ROUTES:
            if route.who is Who.SUPERUSER:
                path = route.path.replace("{", "").replace("}", "")
                got = await ask(it, route.method, path, {}, by=headers)
                assert got.status_code == status, (route.path, got.text)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_of_a_clock_that_is_ahead_is_good(claim: str) -> None:
    """It says that it is good from the second on in which it was made, and is sent at once."""
    async with doppler_site() as it:
        await domain(it)
        ahead: dict[str, Any] = {claim: int(time.time()) + 20}
        assert (await ask(it, "GET", f"/domains/{DOMAIN}", by=su(**ahead))).status_code == 200


async def test_pages_of_any_origin_may_call_with_credentials() -> None:
    """Preflights and answers name the origin and allow credentials."""
    async with doppler_site() as it:
        origin = {"Origin": "https://anything.example"}
        asked = {**origin, "Access-Control-Request-Method": "POST"}
        got = await it.client.options("/push-contacts", headers=asked)
        assert got.status_code == 204
        assert got.headers["access-control-allow-origin"] == origin["Origin"]
        assert got.headers["access-control-allow-credentials"] == "true"
        got = await ask(it, "GET", f"/push-contacts/{DOMAIN}/v", by=origin)
        assert got.headers["access-control-allow-credentials"] == "true"
