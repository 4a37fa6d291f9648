"""The client service as devices call it: registering, push tokens, moving to another app, geofences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest

from commands.apps import RegisterApp
from domain.app_settings import AppSettings
from domain.client import Client
from domain.context import Context
from domain.recorded import EVENTS
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.phone import ANN, APP, OTHER, PROPERTIES, Phone, count, phones, started, topics
from tests.memory.site import PATIENCE_S, Site
from tests.memory.world import IDS, REALM


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        yield made


async def test_the_way_of_a_first_start(it: Site) -> None:
    """Register, push token, anonymous contact, sign-in, refresh: each with its code, and the state always with it."""
    phone = Phone(it)
    registered = await phone.call("POST", "/client", PROPERTIES)
    assert (registered.status_code, registered.content) == (204, b"")
    assert topics(it) == ["client.registered.v1"]
    assert "contactField" not in phone.says
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 204
    assert phone.says["pushToken"] is True
    anonymous = await phone.call("POST", "/client/contact?anonymous=true", {})
    assert (anonymous.status_code, set(anonymous.json())) == (200, {"contactToken", "refreshToken"})
    assert phone.says["contactField"] is None
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 200
    assert phone.says["contactField"] == {
        "contactFieldId": 3,
        "contactFieldValue": "ann@example.org",
        "contactFieldEncryped": False,
    }
    refreshed = await phone.call("POST", "/client/contact-token", {"refreshToken": phone.refresh_token})
    assert (refreshed.status_code, set(refreshed.json())) == (200, {"contactToken"})


async def test_repeats_on_resume_change_nothing(it: Site) -> None:
    """Registering, the push token, its deletion: sent again they answer the same, and add no event; but for the
    token's first repeat, which says that it was alive then.
    """
    phone = await started(it)
    for method, path, body in (
        ("POST", "/client", PROPERTIES),
        ("PUT", "/client/push-token", {"pushToken": "aa11"}),
        ("DELETE", "/client/push-token", None),
    ):
        await phone.call(method, path, body)
        state = phone.says
        if method == "PUT":
            assert (await phone.call(method, path, body)).status_code == 204
            assert len(it.world.bodies(EVENTS, Client.AddressRenewed)) == 1
        before = count(it)
        assert (await phone.call(method, path, body)).status_code == 204
        assert count(it) == before
        assert phone.says == state


async def test_the_first_registration_of_v4_makes_an_anonymous_contact(it: Site) -> None:
    """200 and both tokens; with them, registering again answers 204. All of it in one step on the log."""
    phone = Phone(it, base="/v4/apps")
    got = await phone.call("POST", "/client", PROPERTIES | {"clientId": "device-1"})
    assert (got.status_code, set(got.json())) == (200, {"contactToken", "refreshToken"})
    assert phone.says["contactField"] is None
    assert "clientId" not in phone.says["properties"]
    assert topics(it, "contact") == ["contact.created.v1"]
    again = await phone.call("POST", "/client", PROPERTIES)
    assert (again.status_code, again.content) == (204, b"")
    phone.contact_token = ""
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 200


async def test_a_browser_registers_its_subscription(it: Site) -> None:
    """W sends the PushSubscription as a string of JSON, and reads codes exactly."""
    page = await started(it, client_id=f"{APP}_0f0f", base="/v3/domains")
    keys = {"p256dh": "BKey", "auth": "secret"}
    subscription = json.dumps(
        {"endpoint": "https://push.example.org/1", "expirationTime": None, "keys": keys}
    )
    assert (await page.call("PUT", "/client/push-token", {"pushToken": subscription})).status_code == 204
    assert page.says["pushToken"] is True
    [fact] = it.world.facts(EVENTS, "evt.client.>")[-1:]
    assert (fact.body.channel, json.loads(fact.body.address)["keys"]) == ("webpush", keys)  # type: ignore[union-attr]
    assert (await page.call("DELETE", "/client/push-token", {})).status_code == 204
    assert "pushToken" not in page.says


@pytest.mark.parametrize(
    ("platform", "channel"),
    [("ios", "apns"), ("android", "fcm"), ("android-huawei", "hms"), ("IOS", "apns"), ("linux", "fcm")],
)
async def test_the_platform_says_who_carries_the_push(it: Site, platform: str, channel: str) -> None:
    """Whatever the case of its letters; what we do not know is Android."""
    phone = Phone(it)
    await phone.call("POST", "/client", {"platform": platform})
    await phone.call("PUT", "/client/push-token", {"pushToken": "token:1"})
    assert it.world.facts(EVENTS, "evt.client.>")[-1].body.channel == channel  # type: ignore[union-attr]


HEX = "0a" * 32


async def test_a_token_that_comes_before_the_platform_is_carried_by_whom_the_platform_names(it: Site) -> None:
    """As soon as the device says what it is; a registration that says the same again is no event."""
    phone = Phone(it)
    token = "dRXQ:APA91b"  # an iOS device's need not look like one
    await phone.call("PUT", "/client/push-token", {"pushToken": token})
    assert channels(it) == ["fcm"]
    for _ in range(2):
        await phone.call("POST", "/client", {"platform": "ios"})
    assert channels(it) == ["fcm", "apns"]
    first, second = addresses(it)
    assert (second.address, second.previous_token) == (token, first.token)
    assert second.token == IDS.token(REALM, "apns", token)
    assert phone.says["pushToken"] is True


async def test_a_token_that_looks_like_apples_is_so_until_the_platform_says_otherwise(it: Site) -> None:
    """A device without properties; and one whose properties name another platform later."""
    phone = Phone(it)
    await phone.call("PUT", "/client/push-token", {"pushToken": HEX})
    await phone.call("POST", "/client", {"language": "en"})
    assert channels(it) == ["apns"]
    await phone.call("POST", "/client", {"platform": "android"})
    assert channels(it) == ["apns", "fcm"]


async def test_a_browser_is_reached_by_its_subscription_whatever_it_is_called(it: Site) -> None:
    """No registration turns a subscription into something else."""
    page = await started(it)
    keys = {"p256dh": "BKey", "auth": "secret"}
    subscription = json.dumps({"endpoint": "https://push.example.org/1", "keys": keys})
    await page.call("PUT", "/client/push-token", {"pushToken": subscription})
    await page.call("POST", "/client", {"platform": "ios", "applicationVersion": "2"})
    assert channels(it) == ["webpush"]


def addresses(it: Site) -> list[Client.AddressSet]:
    return it.world.bodies(EVENTS, Client.AddressSet)


def channels(it: Site) -> list[str]:
    return [event.channel for event in addresses(it)]


async def test_who_lost_a_token_hears_it_with_the_next_answer(it: Site) -> None:
    """The other device told the same token later. Telling it again, after that or before, takes it back."""
    it.world.start("taken-tokens")
    older, newer = await started(it), await started(it, client_id="device-2")
    for phone in (older, newer):
        await phone.call("PUT", "/client/push-token", {"pushToken": HEX})
    await it.settled()
    await older.call("POST", "/client", PROPERTIES)
    assert "pushToken" not in older.says
    for phone in (older, newer, older):
        await phone.call("PUT", "/client/push-token", {"pushToken": HEX})
    await it.settled()
    for phone in (older, newer):
        await phone.call("POST", "/client", PROPERTIES)
    assert (older.says.get("pushToken"), newer.says.get("pushToken")) == (True, None)
    await older.call("PUT", "/client/push-token", {"pushToken": HEX})
    before = count(it)
    await older.call("PUT", "/client/push-token", {"pushToken": HEX})
    assert count(it) == before, "what was told a moment ago is no event"


@pytest.mark.parametrize("is_told", [False, True])
async def test_a_token_that_was_lost_goes_nowhere_with_the_device(it: Site, is_told: bool) -> None:
    """Neither to another app nor, with a platform, to another service: it is the other device's by now."""
    if is_told:
        it.world.start("taken-tokens")
    moves, registers, newer = (Phone(it, name, base="/v4/apps") for name in ("one", "two", "three"))
    for phone in (moves, registers, newer):
        await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    await it.settled()
    assert (await moves.call("POST", "/client/app", {"to": OTHER})).status_code == 200
    assert "pushToken" not in moves.says
    await registers.call("POST", "/client", {"platform": "ios"})
    assert len(addresses(it)) == 3


async def test_switching_apps_resets_the_one_and_registers_with_the_other(it: Site) -> None:
    """v4. Asked again with the state of before, after a lost answer, it is the same client of the new app."""
    phone = await started(it, base="/v4/apps")
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    await phone.call("POST", "/client/contact", {"contactFieldValue": "ann"})
    former, contact, refresh = phone.state, phone.contact_token, phone.refresh_token
    clients = []
    for _ in range(2):
        phone.state, phone.contact_token = former, contact
        assert (await phone.call("POST", "/client/app", {"to": OTHER})).status_code == 200
        clients.append(phone.says["client"])
    assert clients[0] == clients[1]
    assert (phone.says["applicationCode"], phone.says["contactField"]) == (OTHER, None)
    assert topics(it).count("client.moved.v1") == 1
    back = Phone(it, base="/v4/apps")
    back.state = former
    assert (await back.call("POST", "/client/contact-token", {"refreshToken": refresh})).status_code == 400
    phone.app = OTHER
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "bb22"})).status_code == 204
    for target in (OTHER, "nobody", ""):
        assert (await phone.call("POST", "/client/app", {"to": target})).status_code == 400


async def test_a_switch_to_another_merchants_app_is_finished_by_whoever_asks_again(it: Site) -> None:
    """Two steps there: asked again with the state of before, it is the same new client, and the old one is reset."""
    command = RegisterApp(code="ABROAD", settings=AppSettings(merchant="abroad"))
    await it.parts.bus.execute(command, Context("abroad"))
    phone = await started(it, base="/v4/apps")
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    former, contact = phone.state, phone.contact_token
    assert (await phone.call("POST", "/client/app", {"to": "ABROAD"})).status_code == 200
    new, phone.state, phone.contact_token = phone.says["client"], former, contact
    assert (await phone.call("POST", "/client/app", {"to": "ABROAD"})).status_code == 200
    assert phone.says["client"] == new
    assert phone.says["pushToken"] is True
    moved = [fact for fact in it.world.facts(EVENTS, "evt.client.>") if fact.topic == "client.moved.v1"]
    assert [fact.realm for fact in moved] == [REALM]


async def test_a_switch_to_another_merchants_app_that_was_cut_off_is_finished_by_the_repeat(it: Site) -> None:
    """The process dies when the new client is on the log, and the old one is not reset: the device, which has heard
    nothing, asks another process, is the same new client, and the old one has neither push token nor contact.
    """
    command = RegisterApp(code="ABROAD", settings=AppSettings(merchant="abroad"))
    await it.parts.bus.execute(command, Context("abroad"))
    phone = await started(it, base="/v4/apps")
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    former = UUID(phone.says["client"])
    # The new client's key, its contact's key, and then all of the move to the other merchant, in one write.
    before, living, dying = count(it), it.parts.bus, it.world.connect(Lifeline(Fault.DEATH, at=3))
    object.__setattr__(it.parts, "bus", dying.bus)
    cut = asyncio.create_task(phone.call("POST", "/client/app", {"to": "ABROAD"}))
    async with asyncio.timeout(PATIENCE_S):
        await dying.life.dead.wait()
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    assert [step.partition(" ")[0] for step in dying.life.steps] == ["key", "key", "save"]
    half = it.world.facts(EVENTS)[before:]
    [new] = [fact for fact in half if isinstance(fact.body, Client.Registered)]
    assert {fact.realm for fact in half} == {"abroad"}
    assert UUID(phone.says["client"]) == former
    assert "client.moved.v1" not in topics(it)
    object.__setattr__(it.parts, "bus", living)
    assert (await phone.call("POST", "/client/app", {"to": "ABROAD"})).status_code == 200
    assert UUID(phone.says["client"]) == new.body.originator_id  # type: ignore[union-attr]
    assert phone.says["pushToken"] is True
    source = await it.world.own.store.load(Client, former, fresh=True)
    assert source is not None
    assert (source.address, source.contact) == (None, None)
    assert topics(it).count("client.moved.v1") == 1


async def test_a_switch_of_v3_goes_by_registering_under_the_new_code(it: Site) -> None:
    """The SDK still holds the old app's state then: it is a proof of where the device comes from, and no 401."""
    phone = await started(it)
    former = phone.says["client"]
    phone.app = OTHER
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
    assert phone.says["applicationCode"] == OTHER
    assert phone.says["client"] != former
    assert "client.moved.v1" in topics(it)


async def test_geofences_answer_304_only_to_who_asks(it: Site) -> None:
    """The ratio is always there; the ETag is the same for the same fences."""
    phone = await started(it)
    got = await phone.call("GET", "/geo-fences")
    assert (got.status_code, got.json()) == (200, {"refreshRadiusRatio": 0.3, "groups": []})
    again = await phone.call("GET", "/geo-fences")
    assert (again.status_code, again.headers["etag"]) == (200, got.headers["etag"])
    same = await phone.call("GET", "/geo-fences", None, **{"if-none-match": got.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    other = await phone.call("GET", "/geo-fences", None, **{"if-none-match": '"other"'})
    assert other.status_code == 200


DALVIK = "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 8 Build/AP4A.250105.002)"


async def test_an_android_device_is_not_told_of_no_geofences(it: Site) -> None:
    """Its SDK crashes the app on an empty list (DefaultGeofenceInternal.kt at 3.11.0, createRefreshAreaGeofence), and
    passes over an error.
    """
    phone = Phone(it)
    for platform in ("", "android", "ios"):
        if platform:
            await phone.call("POST", "/client", {"platform": platform})
        told = await phone.call("GET", "/geo-fences", None, **{"user-agent": DALVIK})
        assert told.status_code == 404
        told = await phone.call("GET", "/geo-fences")
        assert (told.status_code, told.json()["groups"]) == (200, [])
    fence = {"id": "f", "lat": 47.5, "lon": 19.0, "r": 100, "triggers": [TRIGGER]}
    groups = [{"id": "g", "waitInterval": 60, "geofences": [fence]}]
    settings = msgspec.convert({"merchant": REALM, "geofences": {"groups": groups}}, AppSettings)
    await it.world.do(RegisterApp(code="FENCED", settings=settings))
    await it.settled()
    watching = Phone(it, app="FENCED")
    await watching.call("POST", "/client", {"platform": "android"})
    told = await watching.call("GET", "/geo-fences", None, **{"user-agent": DALVIK})
    assert told.json()["groups"][0]["geofences"][0]["id"] == "f"


TRIGGER = {"id": "t", "type": "ENTER", "action": {"type": "MECustomEvent", "name": "in"}}
