"""What a device meets beyond the workflow: campaigns, inboxes, contacts' numbers, rules of its app, tokens run out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import msgspec
import pytest

from api.emarsys.identity.tokens import LIFETIME_S, ContactToken, Tokens
from infra.signing.files import FileSigningKeys
from tests.fixtures.served import Served
from tests.replays.places import Devices
from tests.replays.sdks import pushes
from tests.replays.sdks.appless import Appless
from tests.replays.sdks.devices import FIELD, MAKERS, Device, claims
from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.wire import Wire
from tests.replays.served_place import at, session_of

PATIENCE_S = 20.0
ID_TOKEN = jwt.encode({"sub": "ann@example.com", "email": "ann@example.com"}, "k" * 32, algorithm="HS256")
CAMPAIGN = {
    "event": "bought",
    "campaign_id": "campaign-1",
    "actions": [{"type": "MEAppEvent", "name": "thank-you", "payload": {"a": "1"}}],
}
STYLES = {"android": "emarsys-v3", "ios": "emarsys-v3", "v4": "emarsys-v4"}
kinds = pytest.mark.parametrize("kind", sorted(MAKERS))
phones = pytest.mark.parametrize("kind", ["android", "ios"])


async def until(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await look():
            await asyncio.sleep(0.05)


async def signed_in(device: Device) -> Device:
    await device.sdk.start()
    await device.sdk.set_contact(FIELD, "ann@example.com")
    return device


@kinds
async def test_an_event_that_a_campaign_waits_for_has_its_actions_carried_out(
    exchange: Served, kind: str
) -> None:
    """In the form that the SDK reads; it reports what it did, which is taken like any event."""
    async with at(exchange, STYLES[kind], event_actions=[CAMPAIGN]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        await device.sdk.track("looked")
        assert device.sdk.shown == []
        await device.sdk.track("bought")
        assert [action["name"] for action in device.sdk.shown] == ["thank-you"]
        assert device.events_sent()[-1] in {"inapp:viewed", "on_event:action"}
        devices.assert_unsurprised()
        assert "bought" in await place.events_of(device)


@phones
async def test_a_button_of_an_in_app_message_is_told_once(exchange: Served, kind: str) -> None:
    """Beside the events, in lists of their own, with what was viewed."""
    async with at(exchange, event_actions=[CAMPAIGN]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        await device.sdk.track("bought")
        await device.sdk.press("campaign-1", "button-1")
        await device.sdk.track("later")
        devices.assert_unsurprised()
        told = [fact["data"] for fact in await place.story(device) if fact["stream"] == "SIGNALS"]
        clicks = [click for batch in told for click in batch.get("clicks", ())]
        viewed = [view for batch in told for view in batch.get("viewed", ())]
        assert [(click["campaign"], click["button"]) for click in clicks] == [("campaign-1", "button-1")]
        assert [view["campaign"] for view in viewed] == ["campaign-1"]


@kinds
async def test_calls_that_overtake_each_other_leave_the_device_in_order(exchange: Served, kind: str) -> None:
    """The multiplatform SDK asks for several things at once, the native ones beside their queue."""
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        sdk = device.sdk
        beside = (
            [sdk.set_push_token("the-token"), sdk.track("one"), sdk.fetch_messages(), sdk.track("two")]
            if kind == "v4"
            else [sdk.fetch_inbox(), sdk.fetch_geofences(), sdk.fetch_inbox(), sdk.fetch_inline("home")]
        )
        await asyncio.gather(sdk.set_contact(FIELD, "ann@example.com"), *beside)
        assert device.state()["contactField"]["contactFieldValue"] == "ann@example.com"
        await sdk.set_push_token("another-token")
        await sdk.track("three")
        devices.assert_unsurprised()
        assert device.state()["contactField"]["contactFieldValue"] == "ann@example.com"
        assert device.state()["pushToken"]
        assert await place.push_token_of(device) == "another-token"


async def test_an_app_without_geofences_does_not_crash_on_android(exchange: Served) -> None:
    """Its SDK passes over an error, and crashes on no fence at all; iOS reads that there are none."""
    async with at(exchange, geofences={}) as place:
        devices = Devices(place)
        android, ios = devices.new("android"), devices.new("ios")
        await android.sdk.start()
        with android.surprises.announced("error GET"):
            assert await android.sdk.fetch_geofences() == []
        await ios.sdk.start()
        assert await ios.sdk.fetch_geofences() == []
        devices.assert_unsurprised()


@phones
async def test_a_message_is_in_the_inbox_and_keeps_its_tags(exchange: Served, kind: str) -> None:
    """A sent message arrives in the phone's inbox with its time; a tag set there is there at the next look."""
    async with at(exchange) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        await device.sdk.set_push_token(pushes.device_token(exchange, kind))
        pushes.send(exchange, place.app, subject="Sale", msg="Today")
        await until(device.sdk.fetch_inbox)
        message = (await device.sdk.fetch_inbox())[0]
        assert (message["title"], message["body"]) == ("Sale", "Today")
        assert abs(message["receivedAt"] - time.time()) < 120
        await device.sdk.tag(message["id"], "SEEN")

        async def tags() -> bool:
            return "seen" in ((await device.sdk.fetch_inbox())[0].get("tags") or [])

        await until(tags)
        devices.assert_unsurprised()


async def test_a_message_is_in_the_multiplatform_inbox_until_it_is_opened(exchange: Served) -> None:
    """A message counts in the badge and among the unopened until it is tagged opened."""
    async with at(exchange, "emarsys-v4") as place:
        devices = Devices(place)
        device = await signed_in(devices.new("v4"))
        assert await device.sdk.fetch_badge_count() == 0
        await device.sdk.set_push_token(pushes.device_token(exchange, "android"))
        pushes.send(exchange, place.app, subject="Sale", msg="Today")
        await until(device.sdk.fetch_messages)
        message = (await device.sdk.fetch_messages())[0]
        assert (message["title"], message["lead"]) == ("Sale", "Today")
        assert await device.sdk.fetch_badge_count() == 1
        await device.sdk.tag(message, "opened")

        async def is_opened() -> bool:
            return bool(await device.sdk.fetch_badge_count() == 0)

        await until(is_opened)
        assert await device.sdk.fetch_messages(unopened=True) == []
        devices.assert_unsurprised()


@kinds
async def test_the_contacts_number_comes_with_a_later_answer(exchange: Served, kind: str) -> None:
    """It is looked up behind the scenes; the client state and the next contact token have it."""
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))

        async def is_resolved() -> bool:
            await device.sdk.set_push_token(f"token-{device.clock.now_ms}")
            return isinstance(device.state().get("contactId"), int)

        await until(is_resolved)
        device.spoil_contact_token()
        await device.sdk.track("bought")
        assert claims(device.storage.contact_token or "")["contactId"] == device.state()["contactId"]
        devices.assert_unsurprised()


@kinds
async def test_an_app_without_anonymous_contacts_disturbs_no_device(exchange: Served, kind: str) -> None:
    """It starts as usual; what it tells counts only once somebody has signed in."""
    async with at(exchange, STYLES[kind], anonymous_allowed=False) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        await device.sdk.track("nobody did this")
        await device.sdk.set_contact(FIELD, "ann@example.com")
        await device.sdk.track("ann did this")
        devices.assert_unsurprised()
        taken = await place.events_of(device)
        assert ("ann did this" in taken, "nobody did this" in taken) == (True, False)


@kinds
async def test_an_unknown_app_is_told_to_the_developer_once(exchange: Served, kind: str) -> None:
    """Nothing is tried again for ever: the requests are dropped, and a start costs a bounded number of them."""
    async with at(exchange) as place:
        devices = Devices(place)
        device = devices.new(kind)
        device.app = "no-such-app"
        device.restart()
        with device.surprises.announced("dropped", *([] if device.is_native else ["error"])):
            await device.sdk.start()
        assert {call.status for call in device.wire.calls} == {400}
        assert len(device.wire.calls) < 6
        devices.assert_unsurprised()


@kinds
async def test_a_contact_token_that_has_run_out_costs_no_event(exchange: Served, kind: str) -> None:
    """One refresh, as ever, from which it comes back with a token that is good, and has the contact's number."""
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        said = claims(device.storage.contact_token or "")
        device.storage.contact_token = run_out(exchange, said)
        await device.sdk.track("bought")
        await device.sdk.track("again")
        assert device.events_sent()[-2:] == ["bought", "again"]
        assert len(device.wire.sent("POST", "/client/contact-token")) == 1
        assert claims(device.storage.contact_token or "")["exp"] > time.time()
        devices.assert_unsurprised()


@kinds
async def test_a_device_whose_refresh_comes_to_nothing_loses_no_more_than_one_call_a_day(
    exchange: Served, kind: str
) -> None:
    """Its client state proves who it is: after it was asked for a newer contact token in vain, its events are taken."""
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        said = claims(device.storage.contact_token or "")
        device.storage.contact_token = run_out(exchange, said)
        device.storage.refresh_token = "x" * 70
        with device.surprises.announced("dropped"):
            await device.sdk.track("asked")
        await device.sdk.track("bought")
        assert device.events_sent()[-1] == "bought"
        devices.assert_unsurprised()


@phones
async def test_a_device_over_its_rate_keeps_everything_and_may_still_refresh(
    exchange: Served, kind: str
) -> None:
    """A 429 is kept and sent again; contact-token never answers one, since any failure there loses the request."""
    limits = {"client_per_minute": 12, "app_per_minute": 1_000_000, "address_per_minute": 1_000_000}
    async with at(exchange, rate_limits=limits) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        with device.surprises.announced("retried"):
            number = 0
            while device.wire.calls[-1].status != 429:  # a minute may end meanwhile
                await device.sdk.track(f"event {number}")
                number += 1
                assert number < 40
        assert device.storage.queue
        refresh = {"refreshToken": device.storage.refresh_token}
        answer = await device.sdk.send(
            device.sdk.request("POST", f"{device.sdk.client_path}/contact-token", refresh)
        )
        assert answer.status == 200


async def test_a_lost_answer_to_a_switch_of_apps_is_made_good_by_the_repeat(exchange: Served) -> None:
    """The repeat comes from a client that was reset: it is the same one in the new app, push token and all."""
    async with at(exchange, "emarsys-v4") as place:
        devices = Devices(place)
        device = await signed_in(devices.new("v4"))
        await device.sdk.set_push_token("the-token")
        device.wire.lose_answer("POST", "/client/app")
        with device.surprises.announced("retried"):
            assert await device.sdk.switch_app(place.other)
        assert (device.state()["applicationCode"], device.state()["pushToken"]) == (place.other, True)
        assert await place.push_token_of(device) == "the-token"
        await device.sdk.track("bought")
        devices.assert_unsurprised()


@kinds
async def test_an_update_with_another_application_code_takes_the_device_along(
    exchange: Served, kind: str
) -> None:
    """The new version comes with all that the former one stored: nobody is signed out, and no call is lost, the first
    after the contact token has run out included.
    """
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        device = await signed_in(devices.new(kind))
        await device.sdk.set_push_token("the-token")
        former, device.app = device.state(), place.other
        if not device.is_native:
            device.storage.app = None  # type: ignore[union-attr]
        device.restart("2.0")
        await device.sdk.start()
        await device.sdk.track("bought")
        assert device.state()["applicationCode"] == place.other
        assert device.state()["contactReference"] == former["contactReference"]
        assert await place.push_token_of(device) == "the-token"
        device.spoil_contact_token()
        await device.sdk.track("later")
        assert claims(device.storage.contact_token or "")["client"] == device.state()["client"]
        assert [name for name in await place.events_of(device) if name in {"bought", "later"}] == [
            "bought",
            "later",
        ]
        devices.assert_unsurprised()


@kinds
async def test_a_reinstalled_app_is_a_stranger_with_the_same_client_id(exchange: Served, kind: str) -> None:
    """A client id is anybody's word: whose the device was is not told, and pushes go to whoever lives there now."""
    async with at(exchange, STYLES[kind]) as place:
        devices = Devices(place)
        before, device = devices.new(kind), devices.new(kind)
        await signed_in(before)
        await before.sdk.set_push_token("the-token")
        device.storage.client_id = before.client_id
        await device.sdk.start()
        assert not device.state()["contactField"]
        assert device.state()["client"] != before.state()["client"]
        assert not device.state().get("pushToken")
        await device.sdk.set_push_token("the-token")
        assert await place.push_token_of(device) == "the-token"
        assert await place.push_token_of(before) is None
        devices.assert_unsurprised()


@kinds
async def test_a_contact_that_the_apps_own_sign_in_vouches_for(exchange: Served, kind: str) -> None:
    """An id token in place of a value, in an app that believes any; iOS sends it along with refreshes, too."""
    async with at(exchange, STYLES[kind], open_id_trusted=True) as place:
        devices = Devices(place)
        device = devices.new(kind)
        await device.sdk.start()
        anonymous = device.storage.contact_token
        await device.sdk.set_authenticated_contact(FIELD, ID_TOKEN)
        assert device.storage.contact_token != anonymous
        assert device.state()["contactField"]
        device.spoil_contact_token()
        await device.sdk.track("bought")
        assert device.events_sent()[-1] == "bought"
        devices.assert_unsurprised()


async def test_a_contact_without_an_app(exchange: Served) -> None:
    """Signed in, refreshed with the former token riding along, signed out; the refresh token ends with that."""
    async with at(exchange) as place:
        surprises = Surprises()
        sdk = Appless("main", wire=Wire(place.http), surprises=surprises)
        await sdk.set_contact(FIELD, "ann@example.com")
        assert sdk.refresh_token
        await sdk.refresh()
        before = sdk.refresh_token
        await sdk.set_authenticated_contact(FIELD, ID_TOKEN)
        assert sdk.refresh_token != before
        await sdk.clear_contact()
        surprises.assert_none()
        with surprises.announced("dropped"):
            await sdk.refresh()
        assert sdk.wire.calls[-1].status == 400


def run_out(exchange: Served, said: dict[str, Any]) -> str:
    """A contact token with these claims that was good until an hour ago."""
    keys = FileSigningKeys(session_of(exchange).folder.sdk)
    then = Tokens(keys, now_s=lambda: time.time() - LIFETIME_S - 3_600)
    return then.sign_contact(msgspec.convert(said, ContactToken))
