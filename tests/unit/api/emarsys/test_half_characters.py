"""Half an emoji in what a device sends: a question mark, never a refusal that the device would get for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.devices.signal import DeviceEvents
from domain.recorded import SIGNALS
from tests.memory.phone import APP, V3_NAMES, Phone, phones, started
from tests.memory.site import Site

HALVES = [b"\\ud83d", b"\xf0\x9f", b"\\ude00\\ud83d"]
"""As JSON.stringify writes what is left of a text that was cut, as it stands in bytes that were, and upside down."""


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        yield made


async def send(phone: Phone, method: str, path: str, body: bytes, half: bytes) -> Any:
    names = ("ec-client-id", "ec-client-state", "ec-contact") if phone.is_v4 else V3_NAMES
    held = zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value}
    content = body.replace(b"HALF", half)
    got = await phone.it.call(method, f"{phone.base}/{APP}{path}", content, by=None, headers=headers)
    phone.state = got.headers.get(names[1], phone.state)
    return got


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_a_registration_is_taken(it: Site, base: str, half: bytes) -> None:
    """The rest of what it says is kept as it is."""
    phone = Phone(it, base=base)
    body = b'{"platform":"ios","deviceModel":"HALF","language":"h\xc3\xa9"}'
    assert (await send(phone, "POST", "/client", body, half)).status_code < 300
    kept = phone.says["properties"]
    assert (kept["platform"], kept["language"]) == ("ios", "hé")
    assert set(kept["deviceModel"]) == {"?"}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/client/push-token", b'{"pushToken":"aa11","more":"HALF"}'),
        ("POST", "/client/contact", b'{"contactFieldId":3,"contactFieldValue":"ann HALF"}'),
        ("POST", "/inline-messages", b'{"viewIds":["HALF"]}'),
        ("POST", "/client/events", b'{"events":[{"name":"HALF"}]}'),
    ],
)
async def test_so_are_all_other_calls(it: Site, method: str, path: str, body: bytes, half: bytes) -> None:
    """Whatever their body is."""
    got = await send(await started(it), method, path, body, half)
    assert got.status_code < 300, got.text


async def test_a_joined_batch_does_not_grow_with_what_is_mended(it: Site) -> None:
    """A byte that is no character is one of a question mark: the stream takes what the body's bound has let in."""
    body = b'{"events":[{"type":"custom","name":"a","timestamp":"2026-01-02T03:04:05Z","attributes":{"k":"HALF"}}]}'
    got = await send(await started(it), "POST", "/client/events", body, b"\xff" * 1_500_000)
    assert got.status_code == 204
    [told] = [fact.body for fact in it.world.facts(SIGNALS) if isinstance(fact.body, DeviceEvents)]
    assert told.events[0].attributes == {"k": "?" * 1_500_000}


async def test_what_is_no_json_or_no_such_body_is_refused_as_ever(it: Site) -> None:
    """In the same words as without the half."""
    phone = Phone(it)
    for body in (b'{"platform":', b'["HALF"]', b'"HALF"', b"[" * 100_000):
        got, plain = [await send(phone, "POST", "/client", body, half) for half in (HALVES[0], b"-")]
        assert (got.status_code, got.json()["detail"]) == (400, plain.json()["detail"])
