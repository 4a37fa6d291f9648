"""A letter: written once, filled in for each recipient, and the same bytes as if it were written for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.deliveries.channel import APNS, FCM, WEBPUSH
from domain.errors import Invalid, TooLarge
from domain.message import Content
from domain.notifications.push import push_of
from domain.notifications.sid import Sid, read_sid, sid_key
from gateways.port import AppSender, EventLinks, Target
from gateways.rendering import encode_json, repeat_id
from gateways.styles import STYLES
from gateways.styles.check import check
from gateways.styles.letter import letter
from gateways.styles.sheet import Marks, Sheet
from tests.fixtures.notices import notice, target

SID_KEY = sid_key(b"an id key for tests, of 32 bytes")


class PlainLinks:
    """gateways.port.Links: links that say what they are for."""

    def of(
        self, message: UUID, campaign: str, target: Target, channel: str, actions: Sequence[str]
    ) -> EventLinks:
        assert target.client is not None
        base = f"https://push.example/{target.client.hex}/{message.hex}/{campaign}/{channel}"
        return EventLinks(f"{base}/clicked", f"{base}/received", tuple(f"{base}/{name}" for name in actions))


ACTIONS = [
    {"id": "buy", "title": "Buy", "url": "https://shop.example/buy"},
    {"id": "later", "title": "Later"},
]


def sender(style: str, *, links: bool = True) -> AppSender:
    return AppSender(code="Shop", style=style, sid_key=SID_KEY, links=PlainLinks() if links else None)


def written(style: str, channel: str, sheet: Sheet) -> bytes:
    form = STYLES[style]
    if channel == APNS:
        return encode_json(form.apns(sheet))
    return encode_json(form.fcm(sheet)) if channel == FCM else encode_json(form.web(sheet))


texts = st.text(max_size=30)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("channel", [APNS, FCM, WEBPUSH])
@pytest.mark.parametrize("style", sorted(STYLES))
@settings(max_examples=20)
@given(title=texts, text=texts, data=st.dictionaries(texts, texts, max_size=3))
def test_what_is_filled_in_is_what_would_have_been_written(
    style: str, channel: str, links: bool, title: str, text: str, data: dict[str, str]
) -> None:
    """Whatever the sender's texts are, and in each recipient's copy its own sid, id and links."""
    app = sender(style, links=links)
    opts = {"push": {"actions": ACTIONS, "data": data, "link": "https://shop.example"}}
    sent = msgspec.structs.replace(notice(text, title, opts), app=app)
    made = letter(sent, channel, lambda style_, sheet: written(style, channel, sheet))
    assert made is not None
    for each in (target("a"), target("b")):
        found = PlainLinks().of(sent.message, "", each, channel, ["buy", "later"])
        sid = _sid_in(made.body(each))
        marks = Marks(sid, repeat_id(sent.message, each), actions=("", ""))
        if links:
            marks = Marks(marks.sid, marks.id, found.clicked, found.received, found.actions)
        sheet = Sheet(str(sent.message), app, sent.content, push_of(sent.content), marks)
        assert made.body(each) == written(style, channel, sheet)
        if sid:
            expected = Sid("main", sent.message, channel, client=each.client, contact=each.contact)
            assert read_sid(SID_KEY, sid) == expected


def _sid_in(body: bytes) -> str:
    """Where the styles put it; "" where there is none."""
    document = json.loads(body)
    data = document.get("data", document)
    for candidate in (document.get("u"), data.get("u"), data.get("messageData"), document.get("ems")):
        value = json.loads(candidate) if isinstance(candidate, str) else candidate
        if isinstance(value, dict) and "sid" in value:
            return str(value["sid"])
        if isinstance(value, dict) and "trackingInfo" in value:
            return str(json.loads(value["trackingInfo"])["sid"])
    if "ems.trackingInfo" in data:
        return str(json.loads(data["ems.trackingInfo"])["sid"])
    return str(data.get("ems.sid", ""))


def test_a_style_of_our_own_needs_no_letter() -> None:
    """Without an app, or with one in the exchange's own form, the gateway writes what it always wrote."""

    def never(*_: Any) -> bytes:
        raise AssertionError

    assert letter(notice(), FCM, never) is None
    assert letter(msgspec.structs.replace(notice(), app=sender("msgxc")), FCM, never) is None


@pytest.mark.parametrize(
    ("style", "channel"), [("emarsys-v3", APNS), ("emarsys-v4", FCM), ("doppler", WEBPUSH)]
)
def test_what_is_too_large_in_its_form_is_refused_before_it_is_accepted(style: str, channel: str) -> None:
    """A text that fits by itself does not when three buttons report by links of their own."""
    check(Content("x" * 1_000), style, channel)
    with pytest.raises(TooLarge):
        check(Content("x" * 4_050), style, channel)
    actions = [{"id": str(number), "url": "https://shop.example/" + "y" * 700} for number in range(3)]
    with pytest.raises(TooLarge):
        check(Content("x" * 2_500, opts={"push": {"actions": actions}}), style, channel)


@pytest.mark.parametrize("key", ["from", "message_type", "collapse_key", "google.x", "gcm.y"])
def test_data_that_fcm_keeps_for_itself_is_refused(key: str) -> None:
    """FCM refuses the whole message for one such key."""
    with pytest.raises(Invalid, match="FCM keeps"):
        check(Content("hello", opts={"push": {"data": {key: "1"}}}), "emarsys-v3", FCM)


def test_a_contact_that_has_no_client_gets_a_sid_of_its_own() -> None:
    """An address that belongs to the contact itself."""
    contact = uuid4()
    sent = msgspec.structs.replace(notice(), app=sender("emarsys-v3", links=False))
    made = letter(sent, FCM, lambda style, sheet: written("emarsys-v3", FCM, sheet))
    assert made is not None
    body = made.body(Target("a", contact, None))
    assert read_sid(SID_KEY, _sid_in(body)) == Sid("main", sent.message, FCM, contact=contact)
