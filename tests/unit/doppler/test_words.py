"""What a caller is told who made a mistake, and who is no web domain at all."""

from __future__ import annotations

from typing import Any

import pytest

from gateways.port import AppSender
from tests.unit.doppler.shop import DOMAIN, MESSAGE, ask, contact, domain, doppler_site

APP = "EMSAA-00001"


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/push-contacts", {"deviceToken": 1}, "deviceToken: expected a string or null"),
        (
            "POST",
            "/push-contacts",
            {"deviceToken": "t", "domain": "a b"},
            "domain: a code has 1 to 64 letters",
        ),
        ("POST", f"/messages/domains/{DOMAIN}", {"title": {}}, '{"error":"title: expected a string or null'),
        ("POST", f"/messages/domains/{DOMAIN}", {"title": ""}, '{"error":"\'title\' cannot be null or empty'),
        ("PUT", f"/domains/{DOMAIN}", {"usesExternalPushDomain": True}, '"errors":{"externalPushDomain":['),
        ("PUT", f"/domains/{DOMAIN}", {"isPushFeatureEnabled": 1}, '"errors":{"isPushFeatureEnabled":['),
    ],
)
async def test_an_error_names_the_field(method: str, path: str, body: Any, told: str) -> None:
    """As the contract spells it, in each of the contract's forms of an error."""
    async with doppler_site() as it:
        await domain(it)
        got = await ask(it, method, path, body)
        assert (got.status_code, told in got.text) == (400, True), got.text


async def test_an_app_is_no_web_domain() -> None:
    """No push contact registers for an app's messages, and what it sends is in no domain's results."""
    async with doppler_site(sending=True) as it:
        await domain(it)
        await contact(it, "token")
        await it.admin("PUT", f"/api/v2/apps/{APP}", {"name": "an app"})
        it.world.senders.add(AppSender(code=APP, style="emarsys-v3"))
        await it.settled()
        got = await ask(it, "POST", "/push-contacts", {"domain": APP, "deviceToken": "another"}, by={})
        assert (got.status_code, got.text) == (400, f"{APP!r} is the code of an app, not a domain")
        await it.admin("POST", f"/api/v2/apps/{APP}/messages", {"subject": "Hi", "msg": "There"})
        await ask(it, "POST", f"/messages/domains/{DOMAIN}", MESSAGE)
        await it.settled()
        span: dict[str, Any] = {"from": "2020-01-01", "to": "2090-01-01"}
        results = (await ask(it, "GET", "/push-contacts/messages/delivery-results", **span)).json()
        assert [each["domain"] for each in results["items"]] == [DOMAIN]
        assert results["page"] == 1
        await it.admin("DELETE", f"/api/v2/apps/{APP}")
        await it.settled()
        assert (await ask(it, "GET", "/push-contacts/messages/delivery-results", **span)).json() == results
