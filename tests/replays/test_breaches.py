"""The replays can fail: each breach of the contract surprises the SDK that it would hurt, and is told as that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.responses import Response

from tests.replays.places import Devices, InMemory, in_memory
from tests.replays.sdks import contract
from tests.replays.sdks.devices import FIELD, MAKERS, Device
from tests.replays.sdks.native import RETRY_PAUSE_S


@pytest.fixture
async def place() -> AsyncIterator[InMemory]:
    async with in_memory() as memory:
        yield memory


@pytest.fixture(params=sorted(MAKERS))
def device(request: pytest.FixtureRequest, place: InMemory) -> Device:
    return Devices(place).new(request.param)


@pytest.fixture(params=["android", "ios"])
def phone(request: pytest.FixtureRequest, place: InMemory) -> Device:
    return Devices(place).new(request.param)


@pytest.fixture
def kotlin(place: InMemory) -> Device:
    return Devices(place).new("v4")


def without(header: str) -> Callable[[Response], Response]:
    def change(answer: Response) -> Response:
        del answer.headers[header]
        return answer

    return change


def saying(body: Any, status: int = 200) -> Callable[[Response], Response]:
    return lambda answer: Response(json.dumps(body), status, dict(answer.headers))


def found(device: Device, beginning: str) -> list[str]:
    return [one for one in device.surprises.found if one.startswith(beginning)]


async def test_an_answer_without_client_state_is_noticed(device: Device, place: InMemory) -> None:
    """A start's answer that lacks the client state is an error of every SDK."""
    name = "EC-Client-State" if device.kind is MAKERS["v4"](place.http, "APP1").kind else "X-Client-State"
    place.contract.break_next("POST", "/client", without(name))
    await device.sdk.start()
    assert found(device, "error POST")


async def test_a_server_error_keeps_the_request_and_blocks_the_queue_behind_it(
    phone: Device, place: InMemory
) -> None:
    """No back-off: the next thing that happens sends it again, and everything after it waits."""
    await phone.sdk.start()
    place.contract.fail("POST", "/client/contact", 503)
    await phone.sdk.set_contact(FIELD, "ann@example.com")
    assert found(phone, "retried POST")
    assert len(phone.storage.queue) >= 1
    await phone.sdk.track("bought")
    assert not phone.storage.queue
    assert "bought" in phone.events_sent()


async def test_a_refresh_that_fails_drops_the_request(phone: Device, place: InMemory) -> None:
    """Any failure of contact-token, a 500 as well: the event is lost."""
    await phone.sdk.start()
    phone.spoil_contact_token()
    place.contract.fail("POST", "/client/contact-token", 500)
    await phone.sdk.track("lost")
    assert found(phone, "dropped POST")[0].endswith("418")
    assert "lost" not in phone.events_sent()


async def test_endless_401s_end_after_three_refreshes(phone: Device, place: InMemory) -> None:
    """A phone that is answered 401 again and again refreshes three times, then drops the event."""
    await phone.sdk.start()
    refreshes = len(phone.wire.sent("POST", "/client/contact-token"))
    place.contract.fail("POST", "/client/events", 401, times=99)
    await phone.sdk.track("lost")
    assert len(phone.wire.sent("POST", "/client/contact-token")) - refreshes == 3
    assert phone.clock.waits_s == [RETRY_PAUSE_S] * 3
    assert found(phone, "dropped POST")


async def test_a_joined_batch_that_is_refused_loses_all_of_it(phone: Device, place: InMemory) -> None:
    """Events kept offline go as one batch: one 400 drops every one of them."""
    await phone.sdk.start()
    phone.wire.online = False
    for name in ("one", "two", "three"):
        await phone.sdk.track(name)
    place.contract.fail("POST", "/client/events", 400)
    await phone.sdk.come_online()
    assert found(phone, "dropped POST")
    assert not {"one", "two", "three"} & set(phone.events_sent())


async def test_geofences_that_a_phone_would_reject_are_noticed(phone: Device, place: InMemory) -> None:
    """Geofences without a wait interval or a refresh ratio are rejected by the phone."""
    fences = json.loads(json.dumps(contract.GEOFENCES))
    del fences["groups"][0]["waitInterval"], fences["refreshRadiusRatio"]
    place.contract.break_next("GET", "/geo-fences", saying(fences))
    await phone.sdk.start()
    await phone.sdk.fetch_geofences()
    assert found(phone, "rejected")


async def test_geofences_that_would_crash_an_app_are_noticed(place: InMemory) -> None:
    """Android takes the last of the nearest fences, also where there is none."""
    phone = Devices(place).new("android")
    place.contract.break_next("GET", "/geo-fences", saying({"refreshRadiusRatio": 0.3, "groups": []}))
    await phone.sdk.start()
    await phone.sdk.fetch_geofences()
    assert found(phone, "crashed")


async def test_an_inbox_message_that_a_phone_would_leave_out_is_noticed(
    phone: Device, place: InMemory
) -> None:
    """An inbox message without what the phone reads is left out of its inbox, and the replay says so."""
    place.contract.inbox.append({"id": "1", "campaignId": "2", "title": "t", "body": "b"})
    await phone.sdk.start()
    assert not await phone.sdk.fetch_inbox()
    assert found(phone, "rejected an inbox message")


async def test_tokens_that_cannot_be_read_are_noticed(kotlin: Device, place: InMemory) -> None:
    """An answer with a contact token but no refresh token is unreadable to the multiplatform SDK."""
    place.contract.break_next("POST", "/client", saying({"contactToken": "only one"}))
    await kotlin.sdk.start()
    assert found(kotlin, "unreadable tokens")


async def test_an_overload_costs_the_multiplatform_sdk_its_events_after_five_retries(
    kotlin: Device, place: InMemory
) -> None:
    """After six 503s, five of them retried two seconds apart, the event is dropped."""
    await kotlin.sdk.start()
    place.contract.fail("POST", "/client/events", 503, times=6)
    await kotlin.sdk.track("lost")
    assert kotlin.clock.waits_s == [2.0] * 5
    assert found(kotlin, "dropped 1 events")


async def test_an_unreadable_answer_to_events_is_asked_for_three_times(
    kotlin: Device, place: InMemory
) -> None:
    """An answer whose event state is no text is asked for three times, and told each time."""
    await kotlin.sdk.start()
    before = len(kotlin.wire.sent("POST", "/client/events"))
    place.contract.break_next("POST", "/client/events", saying({"deviceEventState": {"no": "text"}}), 3)
    await kotlin.sdk.track("repeated")
    assert len(kotlin.wire.sent("POST", "/client/events")) - before == 3
    assert len(found(kotlin, "unreadable answer to events")) == 3


async def test_an_app_start_that_is_refused_leaves_the_sdk_disabled(kotlin: Device, place: InMemory) -> None:
    """A 400 to the first call leaves the multiplatform SDK off, with an error."""
    place.contract.fail("POST", "/client", 400)
    await kotlin.sdk.start()
    assert not kotlin.sdk.is_enabled
    assert found(kotlin, "error the SDK could not be enabled")


async def test_an_error_in_another_form_is_noticed(kotlin: Device, place: InMemory) -> None:
    """A 400 whose body is not the contract's error cannot be read by the multiplatform SDK."""
    place.contract.break_next("POST", "/client/events", saying({"title": "no"}, 400))
    await kotlin.sdk.start()
    assert found(kotlin, "unreadable error of")
