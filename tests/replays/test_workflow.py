"""The workflow of Emarsys' guides, replayed by each SDK's own rules: every answer is one that it expects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.replays.places import Devices, Place, in_memory
from tests.replays.sdks.devices import FIELD, MAKERS, Device
from tests.replays.served_place import at


@pytest.fixture(params=["contract", "exchange"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "contract":
        async with in_memory() as memory:
            yield memory
    else:
        async with at(request.getfixturevalue("exchange")) as apps:
            yield apps


@pytest.fixture
def devices(place: Place) -> Devices:
    return Devices(place)


@pytest.fixture(params=sorted(MAKERS))
async def device(request: pytest.FixtureRequest, devices: Devices) -> AsyncIterator[Device]:
    """Not started yet. Whatever surprised it by the end of the test fails the test."""
    yield devices.new(request.param)
    devices.assert_unsurprised()


async def signed_in(device: Device, who: str = "ann@example.com") -> Device:
    await device.sdk.start()
    await device.sdk.set_contact(FIELD, who)
    return device


def named(device: Device) -> str | None:
    """How the client state names the contact; None: anonymous."""
    contact = device.state()["contactField"]
    return contact["contactFieldValue"] if contact else None


async def test_a_first_start_registers_the_client_with_an_anonymous_contact(device: Device) -> None:
    """Afterwards the device holds a client state that it can read, and both tokens."""
    await device.sdk.start()
    assert named(device) is None
    assert device.state()["clientId"] == device.client_id
    assert device.storage.contact_token
    assert device.storage.refresh_token
    assert "session:start" in device.events_sent()


async def test_a_second_start_registers_nothing_anew(device: Device) -> None:
    """A device that starts again keeps its client id, and asks neither for a client nor for a token."""
    await device.sdk.start()
    await device.sdk.stop()
    state, before = device.state(), len(device.wire.sent("POST", "/client"))
    device.restart()
    await device.sdk.start()
    assert len(device.wire.sent("POST", "/client")) == before
    assert not device.wire.sent("POST", "/client/contact-token")
    assert device.state()["clientId"] == state["clientId"]
    assert {"app:start", "session:start", "session:end"} <= set(device.events_sent())


async def test_an_upgrade_while_signed_in_keeps_the_contact(device: Device) -> None:
    """The new version registers its properties; nobody is signed out by it."""
    await signed_in(device)
    await device.sdk.stop()
    contact_calls = len(device.wire.sent("POST", "/client/contact"))
    device.restart(version="2.0")
    await device.sdk.start()
    posted = device.wire.sent("POST", "/client")[-1]
    assert posted.body["applicationVersion"] == "2.0"
    assert len(device.wire.sent("POST", "/client/contact")) == contact_calls
    assert named(device) == "ann@example.com"
    assert device.state()["properties"]["applicationVersion"] == "2.0"


async def test_signing_in_and_out_changes_contact_and_tokens(device: Device) -> None:
    """Each sign-in and sign-out changes whom the client state names and the contact token, and events go on."""
    await device.sdk.start()
    anonymous = device.storage.contact_token
    await device.sdk.set_contact(FIELD, "ann@example.com")
    ann = device.storage.contact_token
    assert (named(device), ann == anonymous) == ("ann@example.com", False)
    await device.sdk.clear_contact()
    assert named(device) is None
    assert device.storage.contact_token != ann
    await device.sdk.set_contact(FIELD, "bob@example.com")
    assert named(device) == "bob@example.com"
    await device.sdk.track("bought", {"sku": "1"})
    assert device.events_sent()[-1] == "bought"


async def test_a_name_beyond_latin_letters_can_be_read_in_the_client_state(device: Device) -> None:
    """A contact's value beyond ASCII is read from the client state as it was given."""
    await signed_in(device, "zoë@пример.рф")
    assert named(device) == "zoë@пример.рф"


async def test_a_push_token_is_set_kept_and_cleared(device: Device, place: Place) -> None:
    """A push token is in the client state and at the exchange from setting to clearing, events between or not."""
    token = f"token-{device.client_id}"
    await signed_in(device)
    await device.sdk.set_push_token(token)
    assert device.state().get("pushToken")
    assert await place.push_token_of(device) == token
    await device.sdk.track("bought")
    assert device.state().get("pushToken")
    await device.sdk.clear_push_token()
    assert not device.state().get("pushToken")
    assert await place.push_token_of(device) is None


async def test_an_expired_contact_token_costs_one_refresh_and_no_event(device: Device) -> None:
    """A spoilt contact token is refreshed once; the event arrives, the contact stays, the next needs no refresh."""
    await signed_in(device)
    device.spoil_contact_token()
    await device.sdk.track("bought")
    assert device.events_sent()[-1] == "bought"
    assert len(device.wire.sent("POST", "/client/contact-token")) == 1
    assert named(device) == "ann@example.com"
    await device.sdk.track("again")
    assert len(device.wire.sent("POST", "/client/contact-token")) == 1


async def test_after_a_refresh_the_push_token_is_told_anew(device: Device, place: Place) -> None:
    """Native SDKs forget it on a 401; at the next start the app tells the same one again."""
    await signed_in(device)
    await device.sdk.set_push_token("the-token")
    device.spoil_contact_token()
    await device.sdk.track("bought")
    device.restart()
    await device.sdk.start()
    await device.sdk.set_push_token("the-token")
    assert await place.push_token_of(device) == "the-token"
    assert device.storage.contact_token


async def test_a_refresh_token_that_is_good_for_nothing_ends_in_one_lost_request(device: Device) -> None:
    """Never in a loop: the service says 400, the SDK gives up; signing in heals the device."""
    await signed_in(device)
    device.spoil_contact_token()
    device.storage.refresh_token = "x" * 70
    calls = len(device.wire.calls)
    with device.surprises.announced("dropped"):
        await device.sdk.track("lost")
    assert len(device.wire.calls) - calls == 2
    assert not device.storage.queue
    await device.sdk.set_contact(FIELD, "bob@example.com")
    await device.sdk.track("healed")
    assert device.events_sent()[-1] == "healed"
    assert named(device) == "bob@example.com"


async def test_events_of_a_night_without_network_arrive_as_one_request(device: Device, place: Place) -> None:
    """In their order; one that is no good costs the others nothing."""
    await signed_in(device)
    device.wire.online = False
    await device.sdk.track("one", {"n": "1"})
    await device.sdk.track("")
    await device.sdk.track("two", {"n": "2"})
    device.restart()
    requests = len(device.wire.sent("POST", "/client/events"))
    await device.sdk.come_online()
    joined = device.wire.sent("POST", "/client/events")[requests:]
    assert [[event["name"] for event in call.body["events"]][-3:] for call in joined] == [["one", "", "two"]]
    taken = await place.events_of(device)
    assert [name for name in taken if name in {"one", "two"}] == ["one", "two"]


@pytest.mark.parametrize(
    ("method", "ending"),
    [
        ("POST", "/client"),
        ("POST", "/client/contact"),
        ("POST", "/client/contact?anonymous=true"),
        ("DELETE", "/client/contact"),
        ("PUT", "/client/push-token"),
        ("DELETE", "/client/push-token"),
        ("POST", "/client/events"),
    ],
)
async def test_a_lost_answer_is_made_good_by_the_repeat(
    device: Device, place: Place, method: str, ending: str
) -> None:
    """The service did it, the device does not know and asks again: it ends as if nothing had been lost."""
    device.wire.lose_answer(method, ending)
    await device.sdk.start()
    await device.sdk.come_online()
    await device.sdk.set_contact(FIELD, "ann@example.com")
    await device.sdk.come_online()
    await device.sdk.set_push_token("first")
    await device.sdk.come_online()
    await device.sdk.clear_push_token()
    await device.sdk.come_online()
    await device.sdk.set_push_token("second")
    await device.sdk.clear_contact()
    await device.sdk.come_online()
    await device.sdk.set_contact(FIELD, "bob@example.com")
    await device.sdk.track("bought")
    await device.sdk.come_online()
    device.surprises.found = [one for one in device.surprises.found if "no answer" not in one]
    assert named(device) == "bob@example.com"
    assert device.state().get("pushToken")
    assert await place.push_token_of(device) == "second"


async def test_a_lost_answer_to_a_refresh_costs_an_event_only_on_ios(device: Device) -> None:
    """When a refresh's answer is lost, iOS alone drops the event; every SDK's next event arrives."""
    await signed_in(device)
    device.spoil_contact_token()
    device.wire.lose_answer("POST", "/client/contact-token")
    await device.sdk.track("bought")
    await device.sdk.come_online()
    await device.sdk.track("later")
    lost = [one for one in device.surprises.found if one.startswith("dropped")]
    assert bool(lost) == (type(device.sdk).__name__ == "Ios")
    device.surprises.found.clear()
    assert device.events_sent()[-1] == "later"


async def test_a_switch_of_apps_takes_the_device_along(device: Device, place: Place) -> None:
    """The old app forgets it; under the new code it is registered, pushed to, and has tokens."""
    await signed_in(device)
    await device.sdk.set_push_token("the-token")
    assert await device.sdk.switch_app(place.other)
    assert device.sdk.app.casefold() == place.other.casefold()
    assert device.state()["applicationCode"] == place.other
    assert device.state().get("pushToken")
    assert await place.push_token_of(device) == "the-token"
    await device.sdk.set_contact(FIELD, "bob@example.com")
    await device.sdk.track("bought")
    assert device.wire.sent("POST", f"/{device.sdk.app}/client/events")
    assert device.events_sent()[-1] == "bought"


async def test_two_devices_with_one_push_token_leave_it_to_the_newest(
    devices: Devices, place: Place, device: Device
) -> None:
    """A backup restored on another phone: the older one keeps working, without pushes."""
    other = devices.new({"Android": "android", "Ios": "ios", "V4": "v4"}[type(device.sdk).__name__])
    for one in (device, other):
        await signed_in(one)
        await one.sdk.set_push_token("the-token")
    assert await place.push_token_of(other) == "the-token"
    assert await place.push_token_of(device) is None
    await device.sdk.track("still here")
    assert device.events_sent()[-1] == "still here"


@pytest.mark.parametrize("kind", ["android", "ios"])
async def test_geofences_inbox_and_inline_messages_can_be_read(devices: Devices, kind: str) -> None:
    """Geofences, inbox and inline messages are answered in a form that every phone reads."""
    device = devices.new(kind)
    await signed_in(device)
    assert await device.sdk.fetch_geofences()
    await device.sdk.fetch_inbox()
    await device.sdk.fetch_inline("home")
    devices.assert_unsurprised()


async def test_the_multiplatform_inbox_can_be_read(devices: Devices) -> None:
    """A page of the inbox and the badge count are answered in a form the multiplatform SDK reads."""
    device = await signed_in(devices.new("v4"))
    await device.sdk.fetch_messages(skip=10, unopened=True)
    assert await device.sdk.fetch_badge_count() == 0
    devices.assert_unsurprised()


async def test_a_stale_contact_token_rides_on_the_anonymous_call_and_is_not_refused(devices: Devices) -> None:
    """An iPhone keeps the former contact's token until the anonymous one's arrives, and sends it along."""
    device = await signed_in(devices.new("ios"))
    device.spoil_contact_token()
    await device.sdk.clear_contact()
    call = device.wire.sent("POST", "/client/contact")[-1]
    assert ("x-contact-token" in call.headers, call.status) == (True, 200)
    assert not device.wire.sent("POST", "/client/contact-token")
    devices.assert_unsurprised()
