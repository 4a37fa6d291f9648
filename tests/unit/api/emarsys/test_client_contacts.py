"""The client service as devices call it: who uses the client, and the tokens that say so."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api.emarsys.identity.tokens import LIFETIME_S
from api.emarsys.patience import patiently
from commands.apps import RegisterApp
from commands.contacts import EraseContact
from domain.app_settings import AppSettings
from domain.contact import Contact
from domain.errors import Unavailable
from domain.recorded import EVENTS
from processes.directories import MerchantSettings
from tests.memory.phone import ANN, OTHER, Phone, phones, started
from tests.memory.site import Site
from tests.memory.world import IDS, REALM


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        yield made


async def test_a_refresh_outlasts_a_log_that_is_away_for_a_moment() -> None:
    """And gives up at last, with what was wrong."""
    outages = [Unavailable("no leader")]

    async def attempt() -> str:
        if outages:
            raise outages.pop()
        return "good"

    assert await patiently(attempt) == "good"
    outages = [Unavailable("no leader")] * 9
    with pytest.raises(Unavailable):
        await patiently(attempt, patience_s=0.0)
    assert len(outages) == 8


async def test_a_contact_without_an_app(it: Site) -> None:
    """By merchant: sign in, refresh; after a sign-out the refresh token is good for nothing."""
    merchant = {"x-merchant-id": REALM}
    path = "/v3/contact-token"
    got = await it.call("POST", path, ANN, by=None, headers=merchant)
    assert (got.status_code, set(got.json())) == (200, {"contactToken", "refreshToken"})
    refresh = {"refreshToken": got.json()["refreshToken"]}
    again = await it.call("POST", path, refresh, by=None, headers=merchant)
    assert (again.status_code, set(again.json())) == (200, {"contactToken"})
    held = merchant | {"x-contact-token": got.json()["contactToken"]}
    assert (await it.call("DELETE", path, by=None, headers=held)).status_code == 204
    assert (await it.call("POST", path, refresh, by=None, headers=merchant)).status_code == 400
    assert (await it.call("DELETE", path, by=None, headers=merchant)).status_code == 204
    assert (await it.call("POST", path, ANN, by=None)).status_code == 400


async def test_who_signs_out_without_an_app_may_hold_a_token_that_has_expired(it: Site) -> None:
    """After a night, say: the refresh tokens that came with it end all the same. Signing in with it proves nothing."""
    path, merchant = "/v3/contact-token", {"x-merchant-id": REALM}
    first = (await it.call("POST", path, ANN, by=None, headers=merchant)).json()
    it.world.clock.advance(LIFETIME_S + 1)
    held = merchant | {"x-contact-token": first["contactToken"]}
    again = (await it.call("POST", path, ANN, by=None, headers=held)).json()
    assert (await it.call("DELETE", path, by=None, headers=held)).status_code == 204
    for told, status in ((first, 400), (again, 200)):
        refresh = {"refreshToken": told["refreshToken"]}
        assert (await it.call("POST", path, refresh, by=None, headers=merchant)).status_code == status


async def test_who_holds_a_contact_token_without_an_app_has_one_family(it: Site) -> None:
    """Android's SDK sends the one that it holds: signing in again goes on with its refresh tokens. As somebody else,
    without a token or with a forged one it gets a family of its own, and ends nobody's.
    """
    path, merchant = "/v3/contact-token", {"x-merchant-id": REALM}

    async def signed_in(who: str, held: str = "") -> dict[str, str]:
        headers = merchant | ({"x-contact-token": held} if held else {})
        body = {**ANN, "contactFieldValue": who}
        got = await it.call("POST", path, body, by=None, headers=headers)
        assert got.status_code == 200
        return dict(got.json())

    def family(told: dict[str, str]) -> UUID | None:
        return it.parts.tokens.read_contact(told["contactToken"]).family

    first = await signed_in("ann")
    again = await signed_in("ann", first["contactToken"])
    assert family(first) == family(again)
    held = again["contactToken"]
    others = [
        await signed_in("eve", held),
        await signed_in("ann"),
        await signed_in("ann", held[:-4] + "AAAA"),
    ]
    assert len({family(each) for each in (first, *others)}) == 4
    for each in (again, *others):
        refresh = {"refreshToken": each["refreshToken"]}
        assert (await it.call("POST", path, refresh, by=None, headers=merchant)).status_code == 200


async def test_calls_without_an_app_are_noted_by_merchant(it: Site) -> None:
    """Each says whose it was. Refusals, and sign-outs of nobody, are in the metrics alone: they prove nothing."""
    merchant, path = {"x-merchant-id": REALM}, "/v3/contact-token"
    got = await it.call("POST", path, ANN, by=None, headers=merchant)
    refresh = {"refreshToken": got.json()["refreshToken"]}
    await it.call("POST", path, refresh, by=None, headers=merchant)
    held = merchant | {"x-contact-token": got.json()["contactToken"]}
    await it.call("DELETE", path, by=None, headers=held)
    await it.call("POST", path, refresh, by=None, headers=merchant)
    await it.call("DELETE", path, by=None, headers=merchant | {"x-contact-token": "forged"})
    await it.call("POST", path, ANN, by=None, headers={"x-merchant-id": "invented"})
    noted = it.signals.noted
    assert [(each.call.call, each.call.status) for each in noted] == [
        (f"POST {path}", 200),
        (f"POST {path}", 200),
        (f"DELETE {path}", 204),
    ]
    [contact] = [
        fact.body.originator_id
        for fact in it.world.facts(EVENTS, "evt.contact.>")
        if isinstance(fact.body, Contact.Created)
    ]
    assert {(each.realm, each.client, each.app, each.call.contact) for each in noted} == {
        (REALM, IDS.merchant(REALM), "", contact)
    }


@pytest.mark.parametrize("value", [{}, {"contactFieldValue": "a" * 256}, {"contactFieldValue": "ü" * 129}])
async def test_a_value_that_cannot_be_is_refused_with_what_can(it: Site, value: dict[str, str]) -> None:
    """One that is missing, or too long in characters or bytes: the answer says how long it may be."""
    phone = await started(it)
    answer = await phone.call("POST", "/client/contact", {"contactFieldId": 3, **value})
    assert (answer.status_code, answer.json()["field"]) == (400, "contactFieldValue")
    assert answer.json()["detail"].endswith("1 to 255 characters and 768 bytes as JSON in ASCII")


async def test_v4_names_contacts_by_the_usual_field_and_signs_out_by_delete(it: Site) -> None:
    """v4 cannot name the field: it is the app's usual one. DELETE leaves an anonymous contact."""
    phone = await started(it, base="/v4/apps")
    assert (await phone.call("POST", "/client/contact", {"contactFieldValue": "ann"})).status_code == 200
    assert phone.says["contactField"]["contactFieldId"] == 3
    assert (await phone.call("DELETE", "/client/contact")).status_code == 200
    assert phone.says["contactField"] is None


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_an_id_token_that_nobody_can_verify_is_refused(it: Site, base: str) -> None:
    """Anybody can write one. The developer is told what to set; nothing is written, and nobody is signed out."""
    phone = await started(it, base=base)
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "victim"}).encode()).decode().rstrip("=")
    before, held = len(it.world.facts(EVENTS)), phone.says
    body = {"contactFieldId": 3, "openIdToken": f"e30.{claims}.c2ln"}
    got = await phone.call("POST", "/client/contact", body | {"contactFieldValue": "ann"})
    assert got.status_code == 400
    assert all(word in got.text for word in ("openid", "open_id_trusted"))
    assert (len(it.world.facts(EVENTS)), phone.says) == (before, held)


async def test_an_id_token_names_its_subject_where_all_are_believed(it: Site) -> None:
    """Two tokens of one person, issued at different times, name one contact."""
    settings = AppSettings(merchant=REALM, open_id_trusted=True)
    await it.world.do(RegisterApp(code="trial", settings=settings))
    phone, references = await started(it, app="trial"), set()
    for issued_at in (1, 2):
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "ann", "iat": issued_at}).encode()).decode()
        body = {"contactFieldId": 5, "openIdToken": f"e30.{claims.rstrip('=')}.c2ln"}
        assert (await phone.call("POST", "/client/contact", body)).status_code == 200
        references.add(phone.says["contactReference"])
    assert len(references) == 1
    for bad in ("", "a.b", "a.!!.c", "e30.e30.c2ln"):
        refused = await phone.call("POST", "/client/contact", {"contactFieldId": 5, "openIdToken": bad})
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "body", [ANN | {"contactFieldId": "3"}, ANN | {"contactFieldEncrypted": True, "more": 1}]
)
async def test_bodies_are_read_generously(it: Site, body: dict[str, Any]) -> None:
    """Numbers as texts, and fields that we do not know."""
    phone = await started(it)
    assert (await phone.call("POST", "/client/contact", body)).status_code == 200
    encrypted = phone.says["contactField"]["contactFieldEncryped"]
    assert encrypted is body.get("contactFieldEncrypted", False)


async def test_a_stale_contact_token_on_a_contact_call_is_not_looked_at(it: Site) -> None:
    """Android's rides along on ?anonymous=true."""
    phone = await started(it)
    for stale in ("x.y.z", phone.contact_token):
        it.world.clock.advance(9 * 3600)
        phone.contact_token = stale
        assert (await phone.call("POST", "/client/contact?anonymous=true", {})).status_code == 200


@pytest.mark.parametrize("path", ["/client/contact", "/client/contact?anonymous=true"])
async def test_a_page_signs_in_whatever_state_it_has(it: Site, path: str) -> None:
    """The web SDK (2.6, me-client-service.js) does not refresh for this call: refused, it would be for ever. It is
    another client then. Native SDKs refresh, and stay who they are; nobody signs in with another client's state.
    """
    page = await started(it, base="/v3/domains")
    other = await started(it, client_id="device-2")
    former, origin = page.says["client"], {"origin": "https://shop.example.org"}
    page.state = other.state
    assert (await page.call("POST", path, ANN, **origin)).status_code == 401
    page.state = "of.no.use"
    assert (await page.call("POST", path, ANN)).status_code == 401
    assert (await page.call("POST", path, ANN, **origin)).status_code == 200
    assert page.says["client"] != former
    assert (await page.call("PUT", "/client/push-token", {"pushToken": "bb22"})).status_code == 204


async def test_refresh_needs_the_refresh_token_alone_and_heals_the_state(it: Site) -> None:
    """A state of a key that is gone is no hindrance; what is no good token is a 400, never a 401."""
    phone = await started(it)
    good, client = phone.refresh_token, phone.says["client"]
    phone.state = "of.no.use"
    got = await phone.call("POST", "/client/contact-token", {"refreshToken": good})
    assert (got.status_code, phone.says["client"]) == (200, client)
    assert "x-rate-limit-limit" not in got.headers
    for bad in ("", "nonsense", good[:40] + ("A" if good[40] != "A" else "B") + good[41:]):
        assert (await phone.call("POST", "/client/contact-token", {"refreshToken": bad})).status_code == 400
    stranger = Phone(it, "device-2")
    assert (await stranger.call("POST", "/client/contact-token", {"refreshToken": good})).status_code == 400
    abroad = Phone(it, app=OTHER)
    assert (await abroad.call("POST", "/client/contact-token", {"refreshToken": good})).status_code == 400


def tells(it: Site, phone: Phone) -> dict[str, Any]:
    """All that a device can learn from its tokens, but for ids and times."""
    claims = msgspec.to_builtins(it.parts.tokens.read_contact(phone.contact_token))
    state = {**phone.says, "contactReference": "", "client": "", "clientId": "", "contactId": ""}
    own = {"contactReference": "", "client": "", "clientId": "", "contactId": ""}
    return {**claims, **own, "state": state}


def uid_of(it: Site, contact: UUID) -> str:
    [uid] = (
        fact.body.uid
        for fact in it.world.facts(EVENTS, "evt.contact.>")
        if isinstance(fact.body, Contact.Created) and fact.body.originator_id == contact
    )
    return uid


async def erase(it: Site, phone: Phone) -> None:
    """Whoever uses the phone now."""
    await it.settled()
    await it.world.do(EraseContact(uid=uid_of(it, UUID(phone.says["contactReference"]))))
    await it.settled()


@pytest.mark.parametrize("times", [1, 3])
async def test_nobody_can_tell_that_a_person_was_erased(it: Site, times: int) -> None:
    """A name is anybody's word: who signs in under one gets the same answers for an erased person as for one who was
    never known, the number in time included; and what was erased does not come back.
    """
    for role in ("erasure", "resolver", "contact-id-writer", "clients-maintainer"):
        it.world.start(role)
    phone, references = await started(it), set()
    for _ in range(times):
        await phone.call("POST", "/client/contact", ANN)
        references.add(phone.says["contactReference"])
        await erase(it, phone)
    curious, other = await started(it, client_id="device-2"), await started(it, client_id="device-3")
    await curious.call("POST", "/client/contact", ANN, prefer="wait=5")
    await other.call("POST", "/client/contact", {**ANN, "contactFieldValue": "never@known"}, prefer="wait=5")
    told, usual = tells(it, curious), tells(it, other)
    assert told["state"].pop("contactField").pop("contactFieldValue") == ANN["contactFieldValue"]
    assert usual["state"].pop("contactField").pop("contactFieldValue") == "never@known"
    assert told == usual
    assert curious.says["contactId"] is not None
    assert curious.says["contactReference"] not in references


async def test_after_an_erasure_a_device_is_like_any_that_nobody_is_signed_in_on(it: Site) -> None:
    """Its refresh token stays good, and answers for nobody in particular; disabled only where such are not wanted."""
    for role in ("erasure", "clients-maintainer"):
        it.world.start(role)
    phone, other = await started(it), await started(it, client_id="device-2")
    await phone.call("POST", "/client/contact", ANN)
    await erase(it, phone)
    for each in (phone, other):
        got = await each.call("POST", "/client/contact-token", {"refreshToken": each.refresh_token})
        assert got.status_code == 200
    assert tells(it, phone) == tells(it, other)
    assert phone.says["contactField"] is None


async def test_an_erased_persons_appless_refresh_token_is_one_that_is_not_good(it: Site) -> None:
    """The same words as for any other."""
    it.world.start("erasure")
    path, merchant = "/v3/contact-token", {"x-merchant-id": REALM}
    tokens = [
        (await it.call("POST", path, {**ANN, "contactFieldValue": who}, by=None, headers=merchant)).json()
        for who in ("ann", "eve")
    ]
    contact = it.parts.tokens.read_contact(tokens[0]["contactToken"]).contact
    await it.world.do(EraseContact(uid=uid_of(it, contact)))
    out = merchant | {"x-contact-token": tokens[1]["contactToken"]}
    assert (await it.call("DELETE", path, by=None, headers=out)).status_code == 204
    answers = [
        (
            await it.call("POST", path, {"refreshToken": each["refreshToken"]}, by=None, headers=merchant)
        ).json()
        for each in tokens
    ]
    assert answers[0] == answers[1]
    assert answers[0]["type"].endswith("#refresh-refused")


async def test_where_unknown_people_are_not_wanted_their_token_is_disabled(it: Site) -> None:
    """Until they sign in."""
    settings = AppSettings(merchant=REALM, anonymous_allowed=False)
    await it.world.do(RegisterApp(code="known-only", settings=settings))
    phone = await started(it, app="known-only")
    assert it.parts.tokens.read_contact(phone.contact_token).disabled
    await phone.call("POST", "/client/contact", ANN)
    assert not it.parts.tokens.read_contact(phone.contact_token).disabled


async def test_who_prefers_to_wait_gets_the_number(it: Site) -> None:
    """It is in the contact token and in the client state, and the answer says that it waited."""
    it.world.start("resolver")
    phone = await started(it)
    got = await phone.call("POST", "/client/contact", ANN, prefer="respond-async, wait=5")
    assert got.headers["preference-applied"] == "wait=5"
    assert it.parts.tokens.read_contact(phone.contact_token).contact_id is not None
    assert phone.says["contactId"] == it.parts.tokens.read_contact(phone.contact_token).contact_id


@pytest.mark.parametrize(("lifetime_s", "good_s"), [(120, 120), (86_400, 600)])
async def test_a_merchant_says_how_long_its_contact_tokens_are_good(
    it: Site, lifetime_s: int, good_s: int
) -> None:
    """With an app and without one. Sooner all the same while the contact's number is not known."""

    class Brief:
        async def settings(self, merchant: str) -> MerchantSettings:
            return MerchantSettings(merchant=merchant, contact_token_lifetime_s=lifetime_s)

        async def is_known(self, merchant: str) -> bool:
            return True

    object.__setattr__(it.parts, "merchants", Brief())
    phone = await started(it)
    await phone.call("POST", "/client/contact", ANN)
    got = await it.call("POST", "/v3/contact-token", ANN, by=None, headers={"x-merchant-id": REALM})
    now_s = int(it.world.clock().timestamp())
    for token in (phone.contact_token, got.json()["contactToken"]):
        assert it.parts.tokens.read_contact(token).expires_at_s == now_s + good_s
