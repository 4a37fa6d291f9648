"""Devices whose app has got another application code with an update: they go on where they were, with whom they had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from commands.apps import RegisterApp, RetireApp
from domain.app_settings import AppSettings
from domain.client import Client
from domain.context import Context
from domain.devices.signal import DeviceEvents
from domain.recorded import EVENTS
from domain.refresh_family import GRACE
from projections import reach
from tests.memory.phone import ANN, APP, OTHER, PROPERTIES, Phone, count, phones, started, topics
from tests.memory.site import Site
from tests.memory.world import REALM
from tests.unit.api.emarsys.device_tokens import ES

ABROAD = "abroad"
EVENT = {"events": [{"type": "custom", "name": "bought", "timestamp": "2026-01-02T03:04:05Z"}]}
ROUTES: dict[str, tuple[str, str, str, Any]] = {
    "register": ("/v3/apps", "POST", "/client", PROPERTIES),
    "events": ("/v3/apps", "POST", "/client/events", EVENT),
    "push-token": ("/v3/apps", "PUT", "/client/push-token", {"pushToken": "aa11"}),
    "clear": ("/v3/domains", "DELETE", "/client/push-token", None),
    "geofences": ("/v3/apps", "GET", "/geo-fences", None),
    "inbox": ("/v3/apps", "GET", "/inbox", None),
    "inline": ("/v3/apps", "POST", "/inline-messages", {"viewIds": ["home"]}),
    "register-v4": ("/v4/apps", "POST", "/client", PROPERTIES),
    "push-token-v4": ("/v4/apps", "PUT", "/client/push-token", {"pushToken": "aa11"}),
    "events-v5": ("/v5/apps", "POST", "/client/events", EVENT),
    "badge": ("/embedded-messaging/api/v1", "GET", "/badge-count", None),
}


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        command = RegisterApp(code=ABROAD, settings=AppSettings(merchant=ABROAD, default_contact_field=3))
        await made.parts.bus.execute(command, Context(ABROAD))
        yield made


async def signed_in(it: Site, base: str = "/v3/apps") -> Phone:
    """With a push token, and Ann."""
    phone = await started(it, base=base)
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 200
    return phone


async def called(phone: Phone, base: str, method: str, path: str, body: Any) -> httpx.Response:
    """As `Phone.call` has it, at another base; an answer that is no token is not read as one."""
    names = ("ec-client-id", "ec-client-state", "ec-contact") if phone.is_v4 else V3
    held = dict(zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True))
    sent = {name: value for name, value in held.items() if value}
    got = await phone.it.call(method, f"{base}/{phone.app}{path}", body, by=None, headers=sent)
    phone.state = got.headers.get(names[1], phone.state)
    if got.status_code == 200 and "contactToken" in got.json():
        phone.contact_token = got.json()["contactToken"]
        phone.refresh_token = got.json().get("refreshToken", phone.refresh_token)
    return got


V3 = ("x-client-id", "x-client-state", "x-contact-token")


async def refreshed(phone: Phone) -> int:
    body = {"refreshToken": phone.refresh_token}
    return (await phone.call("POST", "/client/contact-token", body)).status_code


@pytest.mark.parametrize("route", sorted(ROUTES))
async def test_an_update_with_another_application_code_costs_a_device_nothing(it: Site, route: str) -> None:
    """Whatever it calls first: the call succeeds, whoever was signed in still is, its pushes come to the new app's
    client, the contact token that it holds is in nobody's way, and its refresh token is good there.
    """
    base, method, path, body = ROUTES[route]
    is_v4 = base.startswith(("/v4", "/v5", "/embedded"))
    phone = await signed_in(it, "/v4/apps" if is_v4 else "/v3/apps")
    former, held = phone.says, phone.contact_token
    phone.app = OTHER
    got = await called(phone, base, method, path, body)
    assert got.status_code in (200, 204), got.text
    says = phone.says
    assert (says["applicationCode"], says["clientId"]) == (OTHER, phone.client_id)
    assert says["client"] != former["client"]
    assert says["contactReference"] == former["contactReference"]
    assert says["contactField"] == former["contactField"]
    assert says.get("pushToken", False) == (route != "clear")
    assert topics(it).count("client.moved.v1") == 1
    for contact in (held, phone.contact_token):
        phone.contact_token = contact
        told = await called(phone, "/v5/apps" if is_v4 else "/v3/apps", "POST", "/client/events", EVENT)
        assert told.status_code == 204, told.text
    assert await refreshed(phone) == 200
    token = it.parts.tokens.read_contact(phone.contact_token)
    assert (token.app, token.client and token.client.hex) == (OTHER, says["client"])
    assert token.contact.hex == former["contactReference"]


LONG = {"contactFieldId": 3, "contactFieldValue": "a" * 256}
REFUSED: dict[str, tuple[str, str, str, Any, int]] = {
    "register": ("/v3/apps", "POST", "/client", b"[", 400),
    "register-too-large": ("/v3/apps", "POST", "/client", {"x": "y" * 17_000}, 413),
    "register-oversized": ("/v3/apps", "POST", "/client", {"x": "y" * 300_000}, 413),
    "register-v4": ("/v4/apps", "POST", "/client", b"[]", 400),
    "push-token": ("/v3/apps", "PUT", "/client/push-token", b"{", 400),
    "no-push-token": ("/v3/apps", "PUT", "/client/push-token", {"pushToken": ""}, 400),
    "no-subscription": ("/v3/domains", "PUT", "/client/push-token", {"pushToken": "{}"}, 400),
    "contact": ("/v3/apps", "POST", "/client/contact", b"{", 400),
    "no-field": ("/v3/apps", "POST", "/client/contact", ANN | {"contactFieldId": 0}, 400),
    "long-value": ("/v3/apps", "POST", "/client/contact", LONG, 400),
    "id-token": ("/v3/apps", "POST", "/client/contact", {"contactFieldId": 3, "openIdToken": "a.b.c"}, 400),
    "contact-v4": ("/v4/apps", "POST", "/client/contact", {}, 400),
    "switch": ("/v4/apps", "POST", "/client/app", {"to": "NOBODY"}, 400),
    "events": ("/v3/apps", "POST", "/client/events", b"[", 400),
    "events-v5": ("/v5/apps", "POST", "/client/events", b"{", 400),
    "inline": ("/v3/apps", "POST", "/inline-messages", b"[", 400),
    "messages": ("/embedded-messaging/api/v1", "GET", "/messages?$skip=many", None, 400),
    "tags": ("/embedded-messaging/api/v1", "PATCH", "/tags", {}, 400),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
async def test_a_call_that_is_refused_moves_nobody(it: Site, case: str) -> None:
    """Nothing is half-written: what can't be read, or says what can't be, leaves the device with its contact, its push
    token and its refresh token in the app that it comes from; and its next good call moves it.
    """
    base, method, path, body, status = REFUSED[case]
    is_v4 = base.startswith(("/v4", "/v5", "/embedded"))
    phone = await signed_in(it, "/v4/apps" if is_v4 else "/v3/apps")
    former, before, phone.app = phone.state, count(it), OTHER
    got = await called(phone, base, method, path, body)
    assert (got.status_code, phone.state, count(it)) == (status, former, before)
    phone.app = APP
    assert await refreshed(phone) == 200
    client = await it.world.own.store.load(Client, UUID(phone.says["client"]), fresh=True)
    assert client is not None
    assert (client.address, client.contact and client.contact.hex) == (
        "aa11",
        phone.says["contactReference"],
    )
    phone.app = OTHER
    assert (await called(phone, phone.base, "POST", "/client", PROPERTIES)).status_code in (200, 204)
    assert phone.says["applicationCode"] == OTHER


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_a_sign_in_may_be_the_first_call_after_such_an_update(it: Site, base: str) -> None:
    """Who signs in then is who uses the client; who did before is not left behind on it."""
    phone = await signed_in(it, base)
    phone.app = OTHER
    bob = ANN | {"contactFieldValue": "bob@example.org"}
    assert (await phone.call("POST", "/client/contact", bob)).status_code == 200
    assert phone.says["contactField"]["contactFieldValue"] == "bob@example.org"
    assert await refreshed(phone) == 200
    assert it.parts.tokens.read_contact(phone.contact_token).contact.hex == phone.says["contactReference"]


async def test_calls_that_come_late_with_the_former_state_change_nothing(it: Site) -> None:
    """They are the same client's; who signed in meanwhile stays so, and no event is added."""
    phone = await signed_in(it)
    former = phone.state
    phone.app = OTHER
    await phone.call("POST", "/client", PROPERTIES)
    client = phone.says["client"]
    await phone.call("POST", "/client/contact", ANN | {"contactFieldValue": "bob@example.org"})
    before, phone.state = count(it), former
    assert (await called(phone, "/v3/apps", "GET", "/inbox", None)).status_code == 200
    assert count(it) == before
    assert phone.says["client"] == client
    assert phone.says["contactField"]["contactFieldValue"] == "bob@example.org"


async def test_a_registration_of_v4_gives_tokens_of_the_new_app(it: Site) -> None:
    """Though it sends a contact token: that one is of the former app."""
    phone = await signed_in(it, "/v4/apps")
    phone.app, former = OTHER, phone.refresh_token
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 200
    assert phone.refresh_token != former
    assert it.parts.tokens.read_contact(phone.contact_token).app == OTHER
    assert await refreshed(phone) == 200


async def test_a_former_refresh_token_is_good_until_there_is_one_of_the_new_app(it: Site) -> None:
    """And for as long as an answer may have been lost; the one before it, and the former app, are over at once."""
    phone = await signed_in(it)
    stale = phone.refresh_token
    await phone.call("POST", "/client/contact", ANN | {"contactFieldValue": "bob@example.org"})
    it.world.clock.advance(GRACE.total_seconds() + 1)
    former, phone.app = phone.refresh_token, OTHER
    assert await refreshed(phone) == 400, "nothing has moved yet"
    await called(phone, "/v3/apps", "POST", "/client/events", EVENT)
    for token, at, status in (
        (former, OTHER, 200),
        (stale, OTHER, 400),
        (former, APP, 400),
        ("x" * 70, OTHER, 400),
    ):
        phone.refresh_token, phone.app = token, at
        assert await refreshed(phone) == status, (token == former, at)
    phone.app = OTHER
    await phone.call("POST", "/client/contact", ANN)
    newer, phone.refresh_token = phone.refresh_token, former
    assert await refreshed(phone) == 200
    it.world.clock.advance(GRACE.total_seconds() + 1)
    assert await refreshed(phone) == 400
    phone.refresh_token = newer
    assert await refreshed(phone) == 200


async def test_nobody_elses_former_refresh_token_is_taken(it: Site) -> None:
    """It stands for its own device alone."""
    phone, other = await signed_in(it), await started(it, client_id="device-2")
    for each in (phone, other):
        each.app = OTHER
        await called(each, "/v3/apps", "POST", "/client/events", EVENT)
    other.refresh_token = phone.refresh_token
    assert await refreshed(other) == 400


async def test_an_app_that_went_back_to_its_former_code_is_served_on(it: Site) -> None:
    """A rollback: a third client, the same person, and the refresh token of the very beginning."""
    phone = await signed_in(it)
    seen = {phone.says["client"]}
    for app in (OTHER, APP):
        phone.app = app
        assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 204
        seen.add(phone.says["client"])
    assert len(seen) == 3
    assert phone.says["contactField"]["contactFieldValue"] == ANN["contactFieldValue"]
    assert await refreshed(phone) == 200


async def test_a_former_app_that_was_retired_is_no_hindrance(it: Site) -> None:
    """The update may reach a device long after."""
    phone = await signed_in(it)
    await it.world.do(RetireApp(code=APP))
    phone.app = OTHER
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 204
    assert phone.says["contactField"]["contactFieldValue"] == ANN["contactFieldValue"]


async def test_from_another_merchants_app_a_registration_alone_moves_a_device(it: Site) -> None:
    """And takes nobody along: who somebody is to one merchant is nothing to another. Its tokens are made good by one
    refresh.
    """
    phone = await signed_in(it)
    phone.app, before = ABROAD, count(it)
    for method, path, body in (
        ("POST", "/client/events", EVENT),
        ("PUT", "/client/push-token", {"pushToken": "a"}),
    ):
        got = await called(phone, "/v3/apps", method, path, body)
        assert (got.status_code, got.json()["code"]) == (401, "token-foreign")
    assert await refreshed(phone) == 400
    assert count(it) == before
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
    assert ("contactField" in phone.says, phone.says["applicationCode"]) == (False, ABROAD)
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 401
    assert await refreshed(phone) == 200
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 204
    told = it.parts.tokens.read_contact(phone.contact_token)
    assert (told.realm, phone.says["contactField"]) == (ABROAD, None)


@pytest.mark.parametrize("first", ["push-token-v4", "events-v5"])
async def test_generation_4_comes_from_another_merchants_app_by_what_it_calls_first(
    it: Site, first: str
) -> None:
    """Disabled and enabled with another code it registers only what has changed about the device
    (DeviceInfoUpdater.kt, SetupInjection.kt at 4.0.1), and stays off if its token or app:start is refused.
    What it still says to the former app, to leave it, takes it back to none.
    """
    phone = await signed_in(it, "/v4/apps")
    phone.app = ABROAD
    assert (await called(phone, *ROUTES[first])).status_code == 204
    assert ("contactField" in phone.says, phone.says["applicationCode"]) == (False, ABROAD)
    assert (await called(phone, *ROUTES["events-v5"])).status_code == 401, (
        "the contact token is the former app's"
    )
    assert await refreshed(phone) == 200
    assert (await called(phone, *ROUTES["events-v5"])).status_code == 204
    phone.app = APP
    for path in ("/client/push-token", "/client/contact"):
        assert (await phone.call("DELETE", path)).status_code == 401
    assert phone.says["applicationCode"] == ABROAD


async def test_a_forged_state_of_a_former_app_moves_nobody(it: Site) -> None:
    """It must be ours, and this client id's."""
    phone, other = await signed_in(it), await started(it, client_id="device-2")
    good, before = phone.state, count(it)
    it.signing.use(ES)
    phone.app = other.app = OTHER
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 401
    phone.state = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 401
    other.state = good
    assert (await called(other, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 401
    assert count(it) == before


def contacts_told(it: Site) -> list[str | None]:
    """Of the batches of device events, in order."""
    bodies = [fact.body for fact in it.world.facts("SIGNALS")]
    return [each.contact.hex if each.contact else None for each in bodies if isinstance(each, DeviceEvents)]


@pytest.mark.parametrize("has_contact", [False, True])
async def test_a_token_that_anybody_gets_for_a_name_says_nothing_of_who_uses_a_client(
    it: Site, has_contact: bool
) -> None:
    """Where there is no app a contact token is given for a name alone: beside a client state the state says who it is,
    and without one it is no proof.
    """
    victim = {"x-merchant-id": "main"}
    got = await it.call("POST", "/v3/contact-token", ANN, by=None, headers=victim)
    phone = Phone(it)
    await phone.call("POST", "/client", PROPERTIES)
    if has_contact:
        await phone.call("POST", "/client/contact?anonymous", {})
    phone.contact_token = got.json()["contactToken"]
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 204
    assert contacts_told(it) == [phone.says.get("contactReference")]
    assert (await called(phone, "/v3/apps", "GET", "/inbox", None)).json() == {"messages": []}
    phone.state = ""
    assert (await called(phone, "/v3/apps", "POST", "/client/events", EVENT)).status_code == 401


async def test_the_story_of_a_move_is_on_the_log(it: Site) -> None:
    """In one step: the new client with its contact and its token, the former one without."""
    phone = await signed_in(it)
    before = count(it)
    phone.app = OTHER
    await called(phone, "/v3/apps", "POST", "/client/events", EVENT)
    told = [fact.topic for fact in it.world.facts(EVENTS)[before:]]
    assert sorted(told) == sorted(
        [
            "client.registered.v1",
            "client.contact-linked.v2",
            "client.address-set.v2",
            "client.address-retired.v2",
            "client.contact-linked.v2",
            "client.moved.v1",
            "refresh.ended.v1",
        ]
    )


async def test_a_token_told_to_the_former_app_again_goes_along_with_the_next_move(it: Site) -> None:
    """The answer to the first move was lost, so the device was still the former app's when it told its token again."""
    phone = await started(it, base="/v4/apps")
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    held = phone.state
    await phone.call("POST", "/client/app", {"to": OTHER})
    phone.state = held
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    await phone.call("POST", "/client/app", {"to": OTHER})
    id = UUID(phone.says["client"])
    client = await it.world.own.store.load(Client, id, fresh=True)
    assert client is not None
    assert client.token is not None
    await it.settled()
    assert await reach.owned(it.world.models, REALM, [(client.token, id)]) == [True]


async def test_a_retired_former_app_of_another_merchant_keeps_nobody(it: Site) -> None:
    """The device is reset there all the same: nothing more is sent to it in that merchant's name."""
    phone = await signed_in(it)
    former = UUID(phone.says["client"])
    await it.world.do(RetireApp(code=APP))
    phone.app = ABROAD
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
    assert phone.says["applicationCode"] == ABROAD
    client = await it.world.own.store.load(Client, former)
    assert client is not None
    assert (client.contact, client.token, client.moved_to) == (None, None, UUID(phone.says["client"]))
    assert await it.world.own.store.realm_of(Client, former) == REALM
    moved = [fact for fact in it.world.facts(EVENTS) if fact.topic == "client.moved.v1"]
    assert [fact.realm for fact in moved] == [REALM]
