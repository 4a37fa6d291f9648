"""A contact's devices by the API: what enlisting refuses, and that they are one's own."""

from __future__ import annotations

import asyncio

import pytest

from tests.memory.site import site

BROWSER = {
    "endpoint": "https://push.example/1",
    "expirationTime": None,
    "keys": {"p256dh": f"B{'A' * 86}", "auth": "A" * 22},
    "contentEncoding": "aes128gcm",
}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"os": "ios"}, "token"),
        ({"os": "symbian", "token": "x"}, "os"),
        ({"os": "ios", "token": "../x"}, "token"),
        ({"os": "ios", "token": "zz" * 32}, "token"),
        ({"os": "ios", "token": "a" * 63}, "token"),
        ({"os": "ios", "token": "ab" * 101}, "token"),
        ({"os": "android", "token": "short"}, "token"),
        ({"os": "android", "token": f"{'a' * 40}/"}, "token"),
        ({}, "os"),
        ({"endpoint": "https://push.example/1"}, "keys"),
        ({"endpoint": "javascript:1", "keys": {"p256dh": "a", "auth": "b"}}, "endpoint"),
        ({"endpoint": "https://push.example/1", "keys": {"p256dh": "a"}}, "keys.auth"),
        ({**BROWSER, "endpoint": "http://push.example/1"}, "endpoint"),
        ({**BROWSER, "endpoint": "https://evil.example/x"}, "endpoint"),
        ({**BROWSER, "endpoint": "https://127.0.0.1/x"}, "endpoint"),
        ({**BROWSER, "endpoint": "https://push.example:8443/1"}, "endpoint"),
        ({**BROWSER, "keys": {"p256dh": "BNc", "auth": "A" * 22}}, "keys.p256dh"),
        ({**BROWSER, "keys": {"p256dh": "A" * 87, "auth": "A" * 22}}, "keys.p256dh"),
        ({**BROWSER, "keys": {"p256dh": f"B{'A' * 86}", "auth": "x-_"}}, "keys.auth"),
        ({"os": 1}, "os"),
    ],
)
async def test_enlisting_names_what_is_wrong(body: dict[str, object], field: str) -> None:
    """A device that cannot be reached is refused with 422, naming the field."""
    async with site() as it:
        got = await it.call("POST", "/api/v2/enlist", body)
        assert (got.status_code, got.json()["field"]) == (422, field), got.text
        assert it.world.facts("EVENTS") == []


async def test_enlisting_the_same_device_again_is_one_device() -> None:
    """iOS, Android and browsers are enlisted, an unknown uid becomes a contact, repeats change nothing."""
    apple, google = {"os": "ios", "token": "aB" * 32}, {"os": "android", "token": f"fid:{'A-_' * 40}"}
    async with site() as it:
        for _ in range(2):
            for body in (apple, google, BROWSER):
                assert await it.ok("POST", "/api/v2/enlist", body, by="new") is True
        shown = await it.ok("GET", "/api/v2/clients", by="new")
        assert sorted(item["channel"] for item in shown["items"]) == ["apns", "fcm", "webpush"]
        assert all(item["active"] for item in shown["items"])
        assert (await it.admin("GET", "/api/v2/contacts/new"))["uid"] == "new"


async def test_all_devices_are_forgotten_though_another_call_was_quicker() -> None:
    """One that is gone by then is no failure, and the others go, too."""
    async with site() as it:
        for number in range(3):
            await it.ok("POST", "/api/v2/enlist", {"os": "ios", "token": f"{number:064x}"}, by="ann")
        calls = [it.call("DELETE", "/api/v2/clients", by="ann") for _ in range(3)]
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200, 200, 200]
        assert (await it.ok("GET", "/api/v2/clients", by="ann"))["items"] == []


async def test_devices_are_ones_own() -> None:
    """Somebody else's device can neither be seen nor forgotten; one's own can, singly or all at once."""
    async with site() as it:
        for number in range(3):
            await it.ok("POST", "/api/v2/enlist", {"os": "ios", "token": f"{number:064x}"}, by="ann")
        [first, *_] = (await it.ok("GET", "/api/v2/clients", by="ann"))["items"]
        address = f"/api/v2/clients/{first['client']}"
        assert (await it.ok("GET", "/api/v2/clients", by="eve"))["items"] == []
        assert (await it.call("DELETE", address, by="eve")).status_code == 404
        assert await it.ok("DELETE", address, by="ann") is True
        assert len((await it.ok("GET", "/api/v2/clients", by="ann"))["items"]) == 2
        assert await it.ok("DELETE", "/api/v2/clients", by="ann") is True
        assert (await it.ok("GET", "/api/v2/clients", by="ann"))["items"] == []
