"""What somebody else, or yesterday's owner of a device, can do to a client, a contact or an app: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.emarsys.limits import LOOK_UPS_MAX
from commands.apps import RegisterApp, RetireApp
from commands.bus import ATTEMPTS_MAX
from commands.messaging import Draft, Send
from commands.port import VersionConflict
from domain.app import AppFacts
from domain.app_settings import AppSettings, RateLimits
from domain.client import Client
from domain.context import Context
from domain.errors import Unavailable
from domain.people.resolution import field_uid
from domain.recorded import EVENTS
from infra.lookups.own_directories import OwnMerchants
from processes.directories import MerchantSettings, Toll
from tests.memory.phone import ANN, APP, OTHER, PROPERTIES, Phone, count, phones, started, topics
from tests.memory.ports.apps import Realms
from tests.memory.site import Site
from tests.memory.world import IDS, REALM
from tests.unit.api.emarsys.inboxes import inbox, reachable, send


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        made.world.start("project-signals")
        yield made


async def narrow(it: Site, **limits: int) -> None:
    settings = AppSettings(merchant=REALM, rate_limits=RateLimits(**limits))
    await it.world.do(RegisterApp(code="small", settings=settings))


async def test_one_address_cannot_use_up_what_the_whole_app_has(it: Site) -> None:
    """What is refused for its address is not counted against the app."""
    await narrow(it, address_per_minute=3, app_per_minute=8)
    for number in range(20):
        await Phone(it, f"d-{number}", app="small").call("POST", "/client", {})
    window = int(it.parts.now_s()) // 60
    assert it.parts.counter.add("sdk|p|small", window) == 4


async def test_a_stranger_cannot_use_up_what_a_client_has(it: Site) -> None:
    """A client id is anybody's word: calls without a proof are counted apart from the client's own."""
    await narrow(it, client_per_minute=3)
    owner = Phone(it, app="small")
    await owner.call("POST", "/client", {})
    for _ in range(6):
        await Phone(it, app="small").call("POST", "/client", {})
    assert (await owner.call("POST", "/client", {})).status_code == 204


async def test_naming_ever_other_merchants_is_no_way_around_the_limit(it: Site) -> None:
    """A merchant is anybody's word, too: where there is no app the address is counted over all of them."""
    left = set()
    for number in range(3):
        got = await it.call(
            "POST", "/v3/contact-token", ANN, by=None, headers={"x-merchant-id": f"realm-{number}"}
        )
        left.add(got.headers["x-rate-limit-remaining"])
        assert got.status_code == 400
    assert len(left) == 3


async def test_a_merchant_that_nobody_knows_gets_no_contact(it: Site) -> None:
    """Who is not signed in to anything makes no contacts in a realm by naming it; nor in one whose apps are all gone;
    and while nobody can say, it is a 503, and nothing is written either.
    """
    before, path, named = count(it), "/v3/contact-token", {"x-merchant-id": "invented"}
    got = await it.call("POST", path, ANN, by=None, headers=named)
    assert (got.status_code, got.json()["type"].rpartition("#")[2]) == (400, "bad-merchant")
    known = Realms()
    object.__setattr__(it.parts, "merchants", OwnMerchants(known))
    known.is_away = True
    assert (await it.call("POST", path, ANN, by=None, headers=named)).status_code == 503
    assert count(it) == before
    known.is_away, known.realms = False, {"invented"}
    assert (await it.call("POST", path, ANN, by=None, headers=named)).status_code == 200


async def test_a_merchant_whose_apps_are_gone_gets_no_contact(it: Site) -> None:
    """The last app's end is its own, where no service says otherwise."""
    path, named = "/v3/contact-token", {"x-merchant-id": REALM}
    for code in (APP, OTHER):
        assert (await it.call("POST", path, ANN, by=None, headers=named)).status_code == 200
        await it.world.do(RetireApp(code=code))
        await it.settled()
    assert (await it.call("POST", path, ANN, by=None, headers=named)).status_code == 400


async def test_codes_of_no_app_are_counted_before_anybody_is_asked(it: Site) -> None:
    """Each costs reads of the log's leaders: an address that goes on inventing them is refused; apps that there are
    stay open to it.
    """
    phone = await started(it)
    for number in range(LOOK_UPS_MAX):
        got = await Phone(it, app=f"none-{number}").call("POST", "/client", {})
        assert got.status_code in (400, 429)
    got = await Phone(it, app="one-more").call("POST", "/client", {})
    assert (got.status_code, got.headers["x-rate-limit-remaining"]) == (429, "0")
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204


async def test_a_switch_to_codes_of_no_app_is_no_way_around_that_limit(it: Site) -> None:
    """The code in the body is anybody's word as the path's is: it is counted with them, and who has proved nothing has
    nothing looked up at all.
    """
    phone, stranger = await started(it, base="/v4/apps"), Phone(it, base="/v4/apps")
    now_s = it.parts.now_s()
    object.__setattr__(it.parts, "now_s", lambda: now_s)  # all in one window
    for number in range(LOOK_UPS_MAX):
        await Phone(it, app=f"none-{number}").call("POST", "/client", {})
    got = await phone.call("POST", "/client/app", {"to": "one-more"})
    assert (got.status_code, got.headers["x-rate-limit-remaining"]) == (429, "0")
    got = await stranger.call("POST", "/client/app", {"to": "one-more"})
    assert (got.status_code, got.json()["error"]["target"]) == (400, "ec-client-state")


class Uncached:
    """processes.directories.AppDirectory of a process that has just begun: it remembers nothing. most: looks that were
    under way at once. away: looks that fail from now on.
    """

    def __init__(self, it: Site) -> None:
        self._apps, self._under_way, self.most, self.away = it.apps, 0, 0, 0

    def known(self, code: str) -> AppFacts | None:
        return None

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        if toll is not None:
            toll()
        if self.away:
            self.away -= 1
            raise Unavailable("no leader")
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        return await self._apps.app(code)

    async def refresh(self, code: str) -> None: ...


async def refreshed(phone: Phone) -> int:
    body = {"refreshToken": phone.refresh_token}
    return (await phone.call("POST", "/client/contact-token", body)).status_code


async def test_a_refresh_is_never_refused_for_what_others_of_its_address_look_for(it: Site) -> None:
    """Behind one network address there are many: where one of them invents codes, by refreshes too, a real device
    of an app that is not in memory refreshes on. The looks of such an address are made one by one, and whatever is no
    refresh is refused as ever.
    """
    phone = await started(it)
    apps, now_s = Uncached(it), it.parts.now_s()
    object.__setattr__(it.parts, "apps", apps)
    object.__setattr__(it.parts, "now_s", lambda: now_s)  # all in one window
    for number in range(LOOK_UPS_MAX):
        stranger = Phone(it, app=f"none-{number}")
        stranger.refresh_token = "x" * 70
        assert await refreshed(stranger) == 400
    assert (await Phone(it, app="one-more").call("POST", "/client", {})).status_code == 429
    apps.most = 0
    strangers = [Phone(it, app=f"more-{number}") for number in range(20)]
    for each in strangers:
        each.refresh_token = "x" * 70
    statuses = await asyncio.gather(*map(refreshed, strangers), refreshed(phone))
    assert statuses == [400] * 20 + [200]
    assert apps.most == 1
    assert len(it.parts.lines) == 0
    assert (await Phone(it, app="one-more").call("POST", "/client", {})).status_code == 429


async def test_a_refresh_waits_for_a_look_at_its_app(it: Site) -> None:
    """A leader that is away for a moment costs no call: any failure of a refresh would."""
    phone = await started(it)
    apps = Uncached(it)
    object.__setattr__(it.parts, "apps", apps)
    apps.away = 2
    assert await refreshed(phone) == 200
    assert apps.away == 0


async def test_a_state_of_before_the_sign_out_opens_no_inbox(it: Site) -> None:
    """Neither does a contact token of that time: the client is another's now."""
    phone = await reachable(it)
    await phone.call("POST", "/client/contact", ANN)
    await send(phone, "for Ann alone")
    assert len(await inbox(phone)) == 1
    former, token = phone.state, phone.contact_token
    await phone.call("POST", "/client/contact?anonymous=true", {})
    await it.settled()
    for state, contact in ((former, ""), (former, token), ("", token)):
        phone.state, phone.contact_token = state, contact
        assert await inbox(phone) == []


async def test_nobody_changes_how_a_contact_is_known_by_naming_it_as_encrypted(it: Site) -> None:
    """What is encrypted and what is not are two values, and so two contacts."""
    phone, stranger = await started(it), await started(it, client_id="device-2")
    await phone.call("POST", "/client/contact", ANN)
    contact = phone.says["contactReference"]
    before = topics(it, "contact").count("contact.identified.v1")
    for encrypted in (True, False, True):
        await stranger.call("POST", "/client/contact", ANN | {"contactFieldEncrypted": encrypted})
    assert topics(it, "contact").count("contact.identified.v1") == before + 1
    assert stranger.says["contactReference"] != contact


async def test_a_message_that_no_app_sent_never_closes_an_inbox(it: Site) -> None:
    """Its opts are its sender's own, also the one that apps use for pushes."""
    phone = await reachable(it)
    await phone.call("POST", "/client/contact", ANN)
    mine = await send(phone, "mine")
    uid = field_uid(IDS, REALM, ANN["contactFieldId"], ANN["contactFieldValue"])  # type: ignore[arg-type]
    await it.world.do(Send(uid=uid, draft=Draft(text="odd", opts={"push": "loud"})))
    await it.settled()
    odd, plain = await inbox(phone)
    assert (plain["id"], odd["body"]) == (mine, "odd")


async def test_a_refresh_does_not_need_the_merchants_settings(it: Site) -> None:
    """An SDK drops the call that a refresh was for when it fails: what can't be asked now is left at its default."""

    class Away:
        async def settings(self, merchant: str) -> MerchantSettings:
            raise Unavailable("the merchants' service does not answer")

    phone = await started(it)
    object.__setattr__(it.parts, "merchants", Away())
    refresh = {"refreshToken": phone.refresh_token}
    assert (await phone.call("POST", "/client/contact-token", refresh)).status_code == 200
    assert (await phone.call("POST", "/client/contact?anonymous=true", {})).status_code == 200


async def test_a_contact_token_opens_nothing_in_another_app(it: Site) -> None:
    """Of the same merchant either: without a client state it is the only proof there is."""
    phone = await started(it)
    phone.state, event = "", {"type": "custom", "name": "a", "timestamp": "2026-01-02T03:04:05Z"}
    for app, status in ((APP, 200), (OTHER, 401)):
        headers = {"x-client-id": phone.client_id, "x-contact-token": phone.contact_token}
        read = await it.call("GET", f"/v3/apps/{app}/inbox", by=None, headers=headers)
        told = await it.call(
            "POST", f"/v3/apps/{app}/client/events", {"events": [event]}, by=None, headers=headers
        )
        assert (read.status_code, told.status_code) == (status, status if status == 401 else 204)


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_a_call_that_lost_every_race_is_sent_again(it: Site, base: str) -> None:
    """Nothing is wrong with it: a 4xx would have the SDK drop it."""
    phone = await started(it, base=base)
    it.world.own.store.fail += [VersionConflict("another was faster")] * ATTEMPTS_MAX
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 503
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 200


@pytest.mark.parametrize(("base", "after_s"), [("/v3/apps", "1"), ("/v4/apps", "10")])
async def test_who_calls_while_the_log_is_away_is_told_when_to_come_back(
    it: Site, base: str, after_s: str
) -> None:
    """Generation 4 obeys it five times, then drops a sign-in for good; native SDKs do not look at it."""
    phone = await started(it, base=base)
    it.world.own.store.fail += [Unavailable("the log does not answer")] * ATTEMPTS_MAX
    got = await phone.call("POST", "/client/contact", ANN)
    assert (got.status_code, got.headers.get_list("retry-after")) == (503, [after_s])


async def test_a_client_that_moved_to_another_merchant_keeps_one_token_there(it: Site) -> None:
    """The digest of its push token is the one that any other client there would have for it."""
    await it.world.own.bus.execute(
        RegisterApp(code="abroad", settings=AppSettings(merchant="other")), Context("other", "test", "", "")
    )
    phone = await started(it, base="/v4/apps")
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    await phone.call("POST", "/client/app", {"to": "abroad"})
    again = Phone(it, "device-2", app="abroad", base="/v4/apps")
    await again.call("POST", "/client", {"platform": "ios"})
    await again.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    tokens = {
        fact.body.token
        for fact in it.world.facts(EVENTS, "evt.client.>")
        if isinstance(fact.body, Client.AddressSet) and fact.realm == "other"
    }
    assert len(tokens) == 1
