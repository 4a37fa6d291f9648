"""Device events that nobody wants: of people who were erased, and of unknown people where none are wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from commands.apps import ChangeApp
from commands.contacts import EraseContact
from domain.app_settings import AppSettings
from domain.contact import Contact
from domain.devices.signal import DeviceEvents
from domain.errors import Unavailable
from domain.recorded import EVENTS, SIGNALS
from infra.lookups.removals import RememberedRemovals
from processes.directories import MerchantSettings
from tests.memory.phone import ANN, APP, V3_NAMES, Phone, phones, started
from tests.memory.site import Site
from tests.memory.world import REALM

HAPPENED = {"events": [{"type": "custom", "name": "a", "timestamp": "2026-01-02T03:04:05.678Z"}]}
CLICKED = {
    "viewIds": [],
    "clicks": [{"campaignId": "c", "buttonId": "b", "timestamp": "2026-01-02T03:04:05Z"}],
}
TOKEN_LIFE_S = 9 * 3_600.0


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        made.world.start("project-signals")
        made.world.start("erasure")
        yield made


async def tell(phone: Phone) -> httpx.Response:
    return await phone.call("POST", "/client/events", HAPPENED)


async def click(phone: Phone) -> httpx.Response:
    held = zip(V3_NAMES, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value}
    return await phone.it.call("POST", f"/v3/apps/{APP}/inline-messages", CLICKED, by=None, headers=headers)


async def insist(phone: Phone) -> httpx.Response:
    """With a token that has ended, and no way to another: a device is asked for a newer one once."""
    got = await tell(phone)
    return await tell(phone) if got.status_code == 401 else got


def signals(it: Site) -> list[DeviceEvents]:
    return [fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents)]


async def want_no_strangers(it: Site, *, are_again: bool = False) -> None:
    """are_again: they are wanted again."""
    settings = AppSettings(merchant=REALM, default_contact_field=3, anonymous_allowed=are_again)
    await it.world.do(ChangeApp(code=APP, settings=settings))


async def erase(it: Site, contact: UUID) -> None:
    [uid] = [
        fact.body.uid
        for fact in it.world.facts(EVENTS, f"evt.contact.*.{contact.hex}")
        if isinstance(fact.body, Contact.Created)
    ]
    await it.world.do(EraseContact(uid=uid))


@pytest.mark.parametrize("token", ["as it came", "left out", "expired"])
async def test_unknown_people_are_not_wanted_whatever_token_they_bring(it: Site, token: str) -> None:
    """The client state says that nobody known has the device: 204, the same state, and nothing is stored."""
    await want_no_strangers(it)
    phone = await started(it)
    if token == "left out":
        phone.contact_token = ""
    if token == "expired":
        it.world.clock.advance(TOKEN_LIFE_S)
    before = phone.state
    got = await insist(phone)
    assert (got.status_code, phone.state) == (204, before)
    assert (await click(phone)).json() == {"inlineMessages": []}
    assert signals(it) == []


async def test_settings_hold_from_now_on_for_tokens_of_before(it: Site) -> None:
    """A token that was given when everybody was wanted is good for hours; so is the other way round, once signed in."""
    phone = await started(it)
    assert (await tell(phone)).status_code == 204
    await want_no_strangers(it)
    assert (await tell(phone)).status_code == 204
    assert len(signals(it)) == 1
    await phone.call("POST", "/client/contact", ANN)
    assert (await tell(phone)).status_code == 204
    phone.contact_token = ""
    assert (await tell(phone)).status_code == 204
    assert len(signals(it)) == 3


async def test_strangers_who_are_wanted_again_are_heard_at_once(it: Site) -> None:
    """A token that was given while they were not wanted says that it is disabled, and is good for hours, too."""
    await want_no_strangers(it)
    phone = await started(it)
    assert it.parts.tokens.read_contact(phone.contact_token).disabled
    assert (await tell(phone)).status_code == 204
    await want_no_strangers(it, are_again=True)
    assert (await tell(phone)).status_code == 204
    assert (await click(phone)).status_code == 200
    assert len(signals(it)) == 2


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_merchant_that_wants_no_strangers_is_asked_as_it_is_now(
    it: Site, is_remembered: bool
) -> None:
    """Whatever the app allows, remembered or asked for; of people who signed in, nobody asks."""
    phone = await started(it)
    phone.contact_token = ""
    object.__setattr__(it.parts, "merchants", NoStrangers(is_remembered=is_remembered))
    await tell(phone)
    assert signals(it) == []
    await phone.call("POST", "/client/contact", ANN)
    await tell(phone)
    assert len(signals(it)) == 1


class NoStrangers:
    """processes.directories.Merchants."""

    def __init__(self, *, is_remembered: bool) -> None:
        self._is_remembered = is_remembered

    def known(self, merchant: str) -> MerchantSettings | None:
        settings = MerchantSettings(merchant=merchant, anonymous_contacts=False)
        return settings if self._is_remembered else None

    async def settings(self, merchant: str) -> MerchantSettings:
        return MerchantSettings(merchant=merchant, anonymous_contacts=False)


@pytest.mark.parametrize("token", ["as it came", "left out", "expired"])
@pytest.mark.parametrize("is_remembered", [True, False])
async def test_who_was_erased_is_told_nothing_of(it: Site, token: str, is_remembered: bool) -> None:
    """Dropped at once: with a fresh token, without one, with an expired one; by a process that knew the person, and by
    one that has just begun. The answer's state has no contact any more.
    """
    phone = await started(it)
    await phone.call("POST", "/client/contact", ANN)
    erased = UUID(phone.says["contactReference"])
    if is_remembered:
        await tell(phone)
    told = len(signals(it))
    await erase(it, erased)
    await it.settled()
    if token == "left out":
        phone.contact_token = ""
    if token == "expired":
        it.world.clock.advance(TOKEN_LIFE_S)
    got = await insist(phone)
    assert (got.status_code, len(signals(it))) == (204, told)
    assert {"contactField", "contactReference", "contactId"}.isdisjoint(phone.says)
    assert str(ANN["contactFieldValue"]) not in str(phone.says)
    # What it holds now is good, and names nobody.
    await tell(phone)
    assert all(each.contact != erased for each in signals(it)[told:])


async def test_an_erasure_is_obeyed_before_anything_else_of_it_is_done(it: Site) -> None:
    """The devices are still linked, since whoever ends that is slow."""
    [erasure] = [each for each in it.world.running if each.role == "erasure"]
    await it.world.stop(erasure)
    phone = await started(it)
    await phone.call("POST", "/client/contact", ANN)
    await tell(phone)
    await erase(it, UUID(phone.says["contactReference"]))
    await it.settled()
    assert (await tell(phone)).status_code == 204
    assert "contactField" not in phone.says
    assert len(signals(it)) == 1


async def test_clicks_and_tags_of_who_was_erased_are_dropped_too(it: Site) -> None:
    """Every call that leaves a signal asks the same."""
    phone, v4 = await started(it), await started(it, client_id="device-2", base="/v4/apps")
    await phone.call("POST", "/client/contact", ANN)
    await v4.call("POST", "/client/contact", {"contactFieldValue": ANN["contactFieldValue"]})
    await erase(it, UUID(phone.says["contactReference"]))
    await it.settled()
    assert (await click(phone)).status_code == 200
    tag = [{"messageId": str(UUID(int=1)), "operation": "add", "tag": "opened"}]
    held = {"ec-client-id": v4.client_id, "ec-client-state": v4.state}
    path = f"/embedded-messaging/api/v1/{APP}/tags"
    assert (await it.call("PATCH", path, tag, by=None, headers=held)).status_code == 200
    assert signals(it) == []


async def test_what_was_dropped_is_noted_with_its_reason(it: Site) -> None:
    """So that somebody can tell where it went, though the answers were good ones."""
    await want_no_strangers(it)
    phone = await started(it)
    it.signals.noted.clear()
    two = {"events": HAPPENED["events"] * 2, "clicks": CLICKED["clicks"]}
    assert (await phone.call("POST", "/client/events", two)).status_code == 204
    assert (await click(phone)).status_code == 200
    said = [(each.call.status, each.call.dropped, each.call.items) for each in it.signals.noted]
    assert said == [(204, "anonymous-unwanted", 3), (200, "anonymous-unwanted", 1)]
    assert {each.client for each in it.signals.noted} == {UUID(phone.says["client"])}
    assert signals(it) == []


async def test_events_are_taken_while_nobody_can_say_who_was_erased(it: Site) -> None:
    """A 503 would have them sent again and again, or dropped, for nearly everybody in vain."""

    class Away(RememberedRemovals):
        def known(self, contact: UUID) -> bool | None:
            return None

        async def is_removed(self, contact: UUID) -> bool:
            raise Unavailable("the log does not answer")

    phone = await started(it)
    away = Away(it.world.own.store)
    object.__setattr__(it.parts, "removals", away)
    assert (await tell(phone)).status_code == 204
    assert len(signals(it)) == 1


async def test_an_anonymous_contact_that_was_erased_is_not_linked_again(it: Site) -> None:
    """A refresh finds nobody to give the client to: its token is disabled, and its state names nobody."""
    phone = await started(it)
    erased = UUID(phone.says["contactReference"])
    await it.settled()
    await erase(it, erased)
    await it.settled()
    got = await phone.call("POST", "/client/contact-token", {"refreshToken": phone.refresh_token})
    assert got.status_code == 200
    token = it.parts.tokens.read_contact(phone.contact_token)
    assert (token.contact, token.disabled) == (erased, True)
    assert {"contactField", "contactReference"}.isdisjoint(phone.says)
    assert (await tell(phone)).status_code == 204
    assert signals(it) == []
