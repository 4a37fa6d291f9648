"""Device events as SDKs send them: one signal for each request, and an answer that no SDK is surprised by."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.emarsys.device_events.events import BODY_BYTES_MAX, IN_FLIGHT_MAX
from api.emarsys.device_events.room import BYTES_MAX, SMALL_BYTES
from commands.apps import ChangeApp
from domain.app_settings import AppSettings
from domain.devices.signal import KEPT, DeviceEvents
from domain.notifications.sid import sid_of
from domain.recorded import DELIVERY, SIGNALS
from tests.memory.phone import ANN, APP, OTHER, V3_NAMES, Phone, phones, started
from tests.memory.site import Site, eventually
from tests.memory.world import REALM, SID_KEY

AT = "2026-01-02T03:04:05.678Z"
V4_NAMES = ("ec-client-id", "ec-client-state", "ec-contact")


def event(name: str, *, internal: bool = False, **attributes: str) -> dict[str, Any]:
    kind = "internal" if internal else "custom"
    return {"type": kind, "name": name, "timestamp": AT, "attributes": attributes}


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        for role in ("project-signals", "clicks"):
            made.world.start(role)
        yield made


async def call(
    phone: Phone, method: str, path: str, body: Any = None, *, v4: bool = False, app: str = APP
) -> httpx.Response:
    """As the phone, but to any path: `{app}` is its app. Generation 4 has other names for its headers."""
    names = V4_NAMES if v4 else V3_NAMES
    held = zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value}
    return await phone.it.call(method, path.replace("{app}", app), body, by=None, headers=headers)


async def tell(phone: Phone, *events: Any, base: str = "/v4/apps", **more: Any) -> httpx.Response:
    body = {"events": list(events), **more}
    return await call(phone, "POST", f"{base}/{{app}}/client/events", body, v4=base.startswith("/v5"))


def signals(it: Site) -> list[DeviceEvents]:
    return [fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents)]


async def test_a_batch_with_nothing_in_it_is_a_call_as_any_other(it: Site) -> None:
    """It is no signal, so the log of interactions says that it was made; one that is a signal is not told twice."""
    phone = await started(it)
    it.signals.noted.clear()
    for body in ({}, {"dnd": True, "events": []}):
        assert (await call(phone, "POST", "/v4/apps/{app}/client/events", body)).status_code == 204
    assert (await tell(phone, event("a"))).status_code == 204
    assert [(each.call.call, each.call.status) for each in it.signals.noted] == [
        ("POST /v4/apps/{app}/client/events", 204)
    ] * 2
    assert len(signals(it)) == 1


@pytest.mark.parametrize("is_late", ["token", "state"])
async def test_events_are_of_whom_the_client_belongs_to(it: Site, is_late: str) -> None:
    """Though what the device holds names two: a page that was left lost the answer to a sign-in, and a later call has
    brought the state alone; or a slow answer brought the former state back.
    """
    settings = AppSettings(merchant=REALM, default_contact_field=3, anonymous_allowed=False)
    await it.world.do(ChangeApp(code=APP, settings=settings))
    phone = await started(it)
    held = phone.contact_token if is_late == "token" else phone.state
    await phone.call("POST", "/client/contact", ANN)
    ann = UUID(phone.says["contactReference"])
    if is_late == "token":
        phone.contact_token = held
    else:
        phone.state = held
    assert (await tell(phone, event("a"))).status_code == 204
    assert [each.contact for each in signals(it)] == [ann]


@pytest.mark.parametrize("base", ["/v3/apps", "/v3/domains", "/v4/apps", "/v5/apps", "/v5/domains"])
async def test_a_batch_is_one_signal_of_its_client(it: Site, base: str) -> None:
    """204, and no state that it has; the signal names the client and the contact, and has the items in order."""
    phone = await started(it)
    got = await tell(phone, event("a"), event("b", k="v"), base=base)
    header = "ec-client-state" if base.startswith("/v5") else "x-client-state"
    assert (got.status_code, got.content, header in got.headers) == (204, b"", False)
    [signal] = signals(it)
    assert [each.name for each in signal.events] == ["a", "b"]
    assert (str(signal.client), str(signal.contact)) == (
        str(UUID(phone.says["client"])),
        str(UUID(phone.says["contactReference"])),
    )
    assert it.world.facts(SIGNALS)[0].subject.startswith("signal.events.")


async def test_one_bad_item_costs_no_other(it: Site) -> None:
    """It is on the stream too, with the reason; the device is told that all is well."""
    phone = await started(it)
    got = await tell(phone, event("a"), {"name": "no type"}, event("b"), clicks="none")
    assert got.status_code == 204
    [signal] = signals(it)
    assert [each.name for each in signal.events] == ["a", "b"]
    assert [(each.part, each.index) for each in signal.refused] == [("events", 1), ("clicks", 0)]


async def test_what_is_no_batch_at_all_is_refused(it: Site) -> None:
    """400 for what is no JSON, 413 for what is too large; nothing is on the stream."""
    phone = await started(it)
    path = f"/v4/apps/{APP}/client/events"
    headers = dict(zip(V3_NAMES, (phone.client_id, phone.state, phone.contact_token), strict=True))
    got = await it.client.post(path, content=b'{"events": [', headers=headers)
    assert got.status_code == 400
    got = await it.client.post(path, content=b" " * (BODY_BYTES_MAX + 1), headers=headers)
    assert got.status_code == 413
    assert signals(it) == []


async def test_an_hour_offline_is_no_oversized_body(it: Site) -> None:
    """A thousand joined events are taken as one."""
    phone = await started(it)
    got = await tell(phone, *(event(f"event {number}", more="x" * 200) for number in range(1_000)))
    assert got.status_code == 204
    assert len(signals(it)[0].events) == 1_000


async def test_who_is_no_client_of_ours_is_sent_for_a_token(it: Site) -> None:
    """401 without a state or a token, and for another client's; 400 for an app that is none."""
    phone = await started(it)
    stranger = Phone(it, client_id="device-2")
    assert (await tell(stranger, event("a"))).status_code == 401
    stranger.state = phone.state
    assert (await tell(stranger, event("a"))).status_code == 401
    phone.state = phone.state[:-4] + "AAAA"
    assert (await tell(phone, event("a"))).status_code == 401
    path = "/v4/apps/NONE/client/events"
    assert (await call(Phone(it), "POST", path, {"events": []})).status_code == 400
    assert signals(it) == []


async def test_a_contact_token_alone_is_enough(it: Site) -> None:
    """A device that lost its state in an update still reports."""
    phone = await started(it)
    client = UUID(phone.says["client"])
    phone.state = ""
    assert (await tell(phone, event("a"))).status_code == 204
    assert signals(it)[0].client == client


@pytest.mark.parametrize("base", ["/v3/apps", "/v3/domains", "/v4/apps", "/v5/apps"])
async def test_an_ended_contact_token_is_refused_once_and_comes_back_with_the_contacts_number(
    it: Site, base: str
) -> None:
    """Every SDK refreshes then and sends the events again. The state has proved who it is all the same, and a device
    whose refresh comes to nothing would drop its events: so it is not asked again soon, and on this route alone.
    """
    for role in ("resolver", "contact-id-writer"):
        it.world.start(role)
    phone = await started(it)
    await phone.call("POST", "/client/contact", ANN)
    assert it.parts.tokens.read_contact(phone.contact_token).contact_id is None
    await it.settled()
    it.world.clock.advance(11 * 60)
    ended = phone.contact_token
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 204
    refused = await tell(phone, event("a"), base=base)
    assert (refused.status_code, "token-expired" in refused.text) == (401, True)
    assert (await tell(phone, event("a"), base=base)).status_code == 204
    assert len(signals(it)) == 1
    body = {"refreshToken": phone.refresh_token}
    assert (await phone.call("POST", "/client/contact-token", body)).status_code == 200
    assert it.parts.tokens.read_contact(phone.contact_token).contact_id is not None
    assert (await tell(phone, event("a"), base=base)).status_code == 204
    phone.contact_token = ended
    assert (await tell(phone, event("a"), base=base)).status_code == 204
    phone.state = ""
    assert (await tell(phone, event("a"), base=base)).status_code == 401, "then it is the only proof"


async def test_events_of_a_disabled_contact_are_dropped_early(it: Site) -> None:
    """204, so that the device does not send them again; and nothing on the stream."""
    settings = AppSettings(merchant=REALM, default_contact_field=3, anonymous_allowed=False)
    await it.world.do(ChangeApp(code=APP, settings=settings))
    phone = await started(it)
    got = await tell(phone, event("a"))
    assert (got.status_code, "x-client-state" in got.headers) == (204, False)
    assert signals(it) == []


async def test_an_empty_batch_leaves_no_trace(it: Site) -> None:
    """Native SDKs send some."""
    phone = await started(it)
    assert (await tell(phone)).status_code == 204
    assert signals(it) == []


async def test_the_device_event_state_is_kept_for_the_device(it: Site) -> None:
    """It is echoed; a device that comes without one, at a start, gets what it had. Not for longer than signals live."""
    phone = await started(it)
    state = {"opaque": [1, 2]}
    got = await tell(phone, event("a"), deviceEventState=state)
    assert got.json() == {"deviceEventState": state}
    await it.world.quiet()
    assert (await tell(phone, event("a"))).status_code == 204
    got = await tell(phone, event("app:start", internal=True))
    assert got.json() == {"deviceEventState": state}
    it.world.clock.now += KEPT + timedelta(days=1)
    phone = await started(it, client_id="device-1")
    assert (await tell(phone, event("app:start", internal=True))).status_code == 204


async def test_events_are_taken_while_the_read_models_are_away(it: Site) -> None:
    """Being built, or their store is down: what happened is on the stream, and a 503 would have it sent twice."""
    phone = await started(it)
    it.world.models.down = True
    got = await tell(phone, event("session:start", internal=True))
    assert got.status_code == 204
    assert len(signals(it)) == 1


async def test_generation_4_keeps_its_state_as_text(it: Site) -> None:
    """It is echoed in the form that it came in."""
    phone = await started(it)
    got = await tell(phone, event("a"), deviceEventState="opaque", base="/v5/apps")
    assert got.json() == {"deviceEventState": "opaque"}


async def test_a_push_that_was_opened_becomes_a_receipt(it: Site) -> None:
    """Native SDKs send its sid, generation 4 its trackingInfo; what is no sid of ours becomes nothing."""
    phone = await started(it)
    message, client, contact = uuid4(), uuid4(), uuid4()
    sid = sid_of(SID_KEY, REALM, message, channel="fcm", client=client, contact=contact)
    tracked = {**event("push:click", internal=True), "trackingInfo": f'{{"sid":"{sid}"}}'}
    await tell(phone, event("push:click", internal=True, sid=sid, origin="main"))
    await tell(phone, tracked, base="/v5/apps")
    foreign = sid_of(SID_KEY, "another realm", message, channel="fcm", client=client)
    await tell(phone, event("webpush:click", internal=True, sid="x" * 40))
    await tell(phone, event("webpush:click", internal=True, sid=foreign))
    await tell(phone, event("push:click", sid=sid))
    await it.world.quiet()
    receipts = [fact.body for fact in it.world.facts(DELIVERY, "receipt.fcm.>")]
    told = {(each.kind, each.message, each.client, each.contact) for each in receipts}  # type: ignore[union-attr]
    assert told == {("clicked", message, client, contact)}
    assert len(receipts) == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"x": "y" * 20_000}, 413),
        ("", {"x": "y" * 300_000}, 413),
        ("", b"{", 400),
        ("/events", b"[", 400),
    ],
)
async def test_what_a_known_client_is_refused_is_noted(it: Site, path: str, body: Any, status: int) -> None:
    """Also when it is for what the body is: the log of its calls says how each ended."""
    phone = await started(it)
    it.signals.noted.clear()
    got = await call(phone, "POST", f"/v3/apps/{{app}}/client{path}", body)
    assert got.status_code == status
    [noted] = it.signals.noted
    assert (str(noted.client), noted.call.status) == (str(UUID(phone.says["client"])), status)


async def test_calls_are_noted_with_their_client(it: Site) -> None:
    """Which route, how it ended; not a call that nobody can be held to, nor one that is a signal already."""
    phone = await started(it)
    it.signals.noted.clear()
    await tell(phone, event("a"))
    await tell(Phone(it, client_id="device-2"), event("a"))
    assert it.signals.noted == []
    assert (await call(phone, "GET", "/v3/apps/{app}/inbox")).status_code == 200
    [noted] = it.signals.noted
    assert (noted.client, noted.app) == (UUID(phone.says["client"]), APP)
    assert (noted.call.call, noted.call.status) == ("GET /v3/apps/{app}/inbox", 200)


async def test_who_sends_more_than_there_may_be_is_let_send_it_before_it_is_refused() -> None:
    """Android writes all of a body before it reads (RequestTask.kt at 3.11.0, sendBody): a connection that broke
    meanwhile would have it send the same again for ever.
    """
    size = BODY_BYTES_MAX + (6 << 20)
    async with phones(served=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        line = f"POST /v4/apps/{APP}/client/events HTTP/1.1"
        head = f"{line}\r\nHost: x\r\nX-Client-Id: d\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode())
        for _ in range(size >> 16):
            writer.write(b"x" * (1 << 16))
            await writer.drain()
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_a_crowd_is_turned_away_unheard() -> None:
    """Over a real connection: no answer, which costs no SDK an event. Other routes go on, and it comes in later."""
    async with phones(served=True) as it, httpx.AsyncClient(base_url=f"http://127.0.0.1:{it.port}") as client:
        phone = await started(it)
        headers = dict(zip(V3_NAMES, (phone.client_id, phone.state, phone.contact_token), strict=True))
        url, body = f"/v4/apps/{APP}/client/events", {"events": [event("a")]}
        it.signals.in_flight = IN_FLIGHT_MAX
        with pytest.raises(httpx.TransportError):
            await client.post(url, json=body, headers=headers)
        assert (await client.get("/ping")).status_code == 200
        it.signals.in_flight = 0
        assert (await client.post(url, json=body, headers=headers)).status_code == 204
        assert len(signals(it)) == 1


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_large_bodies_come_in_as_far_as_there_is_room(is_chunked: bool) -> None:
    """Beyond it one is turned away unheard, before it is read; small ones go on, and it comes in when there is room."""
    async with phones(served=True) as it, httpx.AsyncClient(base_url=f"http://127.0.0.1:{it.port}") as client:
        phone = await started(it)
        headers = dict(zip(V3_NAMES, (phone.client_id, phone.state, phone.contact_token), strict=True))
        url, small = f"/v4/apps/{APP}/client/events", json.dumps({"events": [event("a")]}).encode()
        large = json.dumps({"events": [event("a", of="x" * SMALL_BYTES)]}).encode()

        async def pieces() -> AsyncIterator[bytes]:
            yield large

        async def send() -> httpx.Response:
            return await client.post(url, content=pieces() if is_chunked else large, headers=headers)

        room, taken = it.parts.room, BYTES_MAX - SMALL_BYTES
        room.taken += taken
        with pytest.raises(httpx.TransportError):
            await send()
        assert (await client.post(url, content=small, headers=headers)).status_code == 204
        room.taken -= taken
        assert (await send()).status_code == 204
        await eventually(lambda: room.taken == 0)
        assert len(signals(it)) == 2


async def test_another_apps_state_is_of_a_device_that_came_from_there(it: Site) -> None:
    """Its events are the new client's, of the same contact."""
    phone = await started(it)
    got = await call(phone, "POST", "/v4/apps/{app}/client/events", {"events": [event("a")]}, app=OTHER)
    assert got.status_code == 204
    [told] = signals(it)
    assert (told.app, told.contact and told.contact.hex) == (OTHER, phone.says["contactReference"])
    assert told.client.hex != phone.says["client"]


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps", "/v5/apps"])
async def test_an_encoded_body_is_refused_in_the_sdks_form(it: Site, base: str) -> None:
    """415, so that it is not sent again and again, and no event is taken from it."""
    phone = await started(it)
    names = V4_NAMES if base == "/v5/apps" else V3_NAMES
    held = zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value} | {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"events":[]}')
    got = await it.call("POST", f"{base}/{APP}/client/events", body, by=None, headers=headers)
    assert got.status_code == 415, got.text
    if base != "/v5/apps":
        assert got.json()["code"] == "unsupported-encoding"
    else:
        assert got.json()["error"]["details"] == [
            {"code": "unsupported-encoding", "message": got.json()["error"]["message"]}
        ]
    assert signals(it) == []
