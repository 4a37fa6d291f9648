"""Sending in an app's name over REST: who may, what is refused, and what the event says."""

from __future__ import annotations

from typing import Any

import pytest

from domain.message import Message, ToApp, ToContacts
from tests.memory.site import Site, site, token
from tests.memory.world import IDS, REALM

PATH = "/api/v2/apps/shop/messages"


async def registered(it: Site, **settings: Any) -> None:
    await it.admin("POST", "/api/v2/apps", {"code": "Shop", **settings})


def by(*apps: str, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token('shop-server', apps=list(apps), **more)}"}


def accepted(it: Site) -> list[Message.Accepted]:
    return [fact.body for fact in it.world.facts("EVENTS") if isinstance(fact.body, Message.Accepted)]


async def test_a_token_that_names_the_app_sends_to_everyone_it_has() -> None:
    """By the app's own code, whatever the letters' case in the path or the token; only by push."""
    async with site() as it:
        await registered(it)
        got = await it.call("POST", PATH, {"msg": "!", "subject": "Sale"}, by=None, headers=by("SHOP"))
        assert got.status_code == 200, got.text
        [event] = accepted(it)
        assert (event.app, event.audience, event.channels) == ("Shop", ToApp(), ("apns", "fcm", "webpush"))
        assert got.headers["location"] == f"/api/v2/messages/{event.originator_id}"
        assert event.sender == "shop-server"


async def test_named_contacts_and_what_the_notification_does() -> None:
    """Contacts by their uids, each once; the notification in the words of any SDK."""
    async with site() as it:
        await registered(it)
        push = {
            "link": "https://a.example",
            "actions": [{"id": "buy", "title": "Buy", "url": "https://a.example/b"}],
        }
        body = {"msg": "Hello", "uids": ["ann", "bob", "ann"], "push": push, "opts": {"sound": "ping"}}
        await it.admin("POST", PATH, body)
        [event] = accepted(it)
        assert event.audience == ToContacts((IDS.contact(REALM, "ann"), IDS.contact(REALM, "bob")))
        assert event.content is not None
        assert event.content.opts == {"sound": "ping", "push": {**push, "actions": push["actions"]}}


@pytest.mark.parametrize(
    ("headers", "there", "nowhere"),
    [
        (by("other"), 403, 403),
        (by(), 403, 403),
        (by("shop", realm="other"), 404, 403),
        (by("shop", "unknown"), 200, 404),
        (by(role="admin", realm="other"), 404, 404),
        (by("nothing", role="admin"), 200, 404),
    ],
)
async def test_who_may_not_send_is_told_nothing(headers: dict[str, str], there: int, nowhere: int) -> None:
    """Without the claim 403 whether there is such an app or not; of another realm there is none."""
    async with site() as it:
        await registered(it)
        for path, status in ((PATH, there), (PATH.replace("shop", "unknown"), nowhere)):
            got = await it.call("POST", path, {"msg": "hello"}, by=None, headers=headers)
            assert got.status_code == status, got.text


@pytest.mark.parametrize("apps", ["shop", [1], [["shop"]], ["x"] * 201])
async def test_a_token_with_a_bad_claim_is_no_token(apps: Any) -> None:
    """The claim `apps` is a list of codes."""
    async with site() as it:
        headers = {"Authorization": f"Bearer {token('x', apps=apps)}"}
        got = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=headers)
        assert got.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"msg": ""},
        {"msg": "hello", "uids": []},
        {"msg": "hello", "push": {"actions": [{"id": str(n), "url": "https://a.example"} for n in range(4)]}},
        {"msg": "hello", "push": {"actions": [{"id": "a"}, {"id": "a"}]}},
        {"msg": "hello", "push": {"actions": [{"type": "MEAppEvent", "id": "a"}]}},
        {"msg": "hello", "push": {"tap": {}}},
        {"msg": "hello", "push": {"android_style": "LOUD"}},
        {"msg": "hello", "opts": {"push": {"actions": "many"}}},
        {"msg": "hello", "push": {"link": "https://" + "a" * 2_048}},
    ],
)
async def test_what_no_device_could_show_is_refused(body: dict[str, Any]) -> None:
    """Before anything is stored."""
    async with site() as it:
        await registered(it)
        got = await it.call("POST", PATH, body, by=None, headers=by("shop"))
        assert got.status_code == 422, got.text
        assert accepted(it) == []


async def test_a_web_domain_that_is_switched_off_sends_nothing() -> None:
    """409, until it is switched on again."""
    async with site() as it:
        await registered(it, kind="web-domain", is_push_feature_enabled=False)
        got = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=by("shop"))
        assert got.status_code == 409, got.text
        await it.admin("PUT", "/api/v2/apps/Shop", {"kind": "web-domain"})
        got = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=by("shop"))
        assert got.status_code == 200, got.text


async def test_a_call_again_under_its_key_is_the_same_message() -> None:
    """And with other contacts it is refused."""
    async with site() as it:
        await registered(it)
        headers = {**by("shop"), "Idempotency-Key": "k1"}
        first = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=headers)
        again = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=headers)
        other = await it.call("POST", PATH, {"msg": "hello", "uids": ["ann"]}, by=None, headers=headers)
        assert first.headers["location"] == again.headers["location"]
        assert other.status_code == 422
        assert len(accepted(it)) == 1


async def test_a_call_again_is_the_same_message_whatever_became_of_the_app() -> None:
    """Another SDK's form, or push switched off since: its answer is the first one's; a new call is refused."""
    async with site() as it:
        await registered(it, kind="web-domain")
        headers = {**by("shop"), "Idempotency-Key": "k1"}
        first = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=headers)
        for settings in ({"push": {"style": "emarsys-v4"}}, {"is_push_feature_enabled": False}):
            await it.admin("PUT", "/api/v2/apps/Shop", {"kind": "web-domain", **settings})
            again = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=headers)
            assert again.status_code == 200, again.text
            assert first.headers["location"] == again.headers["location"]
        other = await it.call("POST", PATH, {"msg": "other"}, by=None, headers=headers)
        assert other.status_code == 422
        new = await it.call("POST", PATH, {"msg": "hello"}, by=None, headers=by("shop"))
        assert new.status_code == 409
        assert len(accepted(it)) == 1


async def test_the_key_that_pages_subscribe_by_is_the_apps_own() -> None:
    """The same each time, whatever the letters' case; another app has another."""
    async with site() as it:
        await registered(it)
        await it.admin("POST", "/api/v2/apps", {"code": "Bakery"})

        async def key(code: str) -> str:
            got = await it.call("GET", f"/api/v2/apps/{code}/vapid", by=None, headers=by("shop", "bakery"))
            assert got.status_code == 200, got.text
            return str(got.json()["public_key"])

        assert await key("Shop") == await key("shop")
        assert await key("bakery") != await key("shop")
        got = await it.call("GET", "/api/v2/apps/shop/vapid", by=None, headers=by("bakery"))
        assert got.status_code == 403
