"""The pushes that are sent in an app's style are ones that the real SDKs show, and report a tap on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.message import Content
from domain.notifications.push import KEY, push_of
from gateways.port import AppSender
from gateways.rendering import encode_json
from gateways.styles import STYLES
from gateways.styles.sheet import Marks, Sheet
from tests.replays.sdks import payloads
from tests.replays.sdks.payloads import Crash, Shown

SID = "sid-of-this-push"
LINK = "https://shop.example/sale"
BUTTONS: list[dict[str, Any]] = [
    {"id": "open", "title": "Open", "type": "OpenExternalUrl", "url": "https://shop.example/1"},
    {"id": "tell", "title": "Tell", "type": "MEAppEvent", "name": "told", "payload": {"a": "1"}},
    {"id": "no", "title": "No", "type": "Dismiss"},
]
RICH: dict[str, Any] = {
    KEY: {
        "image": "https://shop.example/1.png",
        "icon": "https://shop.example/icon.png",
        "link": "https://shop.example",
        "actions": BUTTONS,
        "campaign": "4711",
        "android_channel": "news",
        "android_style": "BIG_TEXT",
        "treatments": {"x": 1},
        "data": {"deep": {"er": 1}, "plain": "text"},
    }
}
OPTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rich": RICH,
    "tapped": {KEY: {"tap": {"type": "MECustomEvent", "name": "tapped"}}},
}


def sheet(opts: dict[str, Any], style: str, android: str = "v1") -> Sheet:
    content = Content(text="Hëllo \u2028 you", subject='A "title"', opts=opts)
    sender = msgspec.convert({"code": "APP1", "style": style, "android": android}, AppSender)
    return Sheet(str(UUID(int=7)), sender, content, push_of(content), Marks(SID, "repeat-1"))


def decoded(document: Any) -> Any:
    """Through the wire."""
    return json.loads(encode_json(document))


def v3_android(opts: dict[str, Any], version: str) -> Shown | None:
    return payloads.android(decoded(STYLES["emarsys-v3"].fcm(sheet(opts, "emarsys-v3", version)).data))


READERS: dict[str, Callable[[dict[str, Any]], Shown | None]] = {
    "android v1": lambda opts: v3_android(opts, "v1"),
    "android v2": lambda opts: v3_android(opts, "v2"),
    "ios": lambda opts: payloads.ios(decoded(STYLES["emarsys-v3"].apns(sheet(opts, "emarsys-v3")))),
    "web": lambda opts: payloads.web(decoded(STYLES["emarsys-v3"].web(sheet(opts, "emarsys-v3")))),
    "v4 android": lambda opts: payloads.v4_android(
        decoded(STYLES["emarsys-v4"].fcm(sheet(opts, "emarsys-v4")).data)
    ),
    "v4 ios": lambda opts: payloads.v4_ios(decoded(STYLES["emarsys-v4"].apns(sheet(opts, "emarsys-v4")))),
    "v4 web": lambda opts: payloads.v4_web(decoded(STYLES["emarsys-v4"].web(sheet(opts, "emarsys-v4")))),
}


@pytest.mark.parametrize("opts", sorted(OPTS))
@pytest.mark.parametrize("reader", sorted(READERS))
def test_every_sdk_shows_the_push_and_reports_a_tap_with_its_sid(reader: str, opts: str) -> None:
    """Every SDK reads title, body and actions as they were sent, and hands the sid back with a tap."""
    shown = READERS[reader](OPTS[opts])
    assert shown is not None
    assert (shown.title, shown.body) == ('A "title"', "Hëllo \u2028 you")
    assert shown.tracked is not None
    tracked = json.loads(shown.tracked)["sid"] if reader.startswith("v4") else shown.tracked
    assert tracked == SID
    assert shown.actions == (("open", "tell", "no") if opts == "rich" else ())


@pytest.mark.parametrize(
    "said", [{"link": LINK}, {"tap": {"url": LINK}}, {"link": "https://no", "tap": {"url": LINK}}]
)
@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_tap_opens_the_same_page_with_every_sdk(reader: str, said: dict[str, Any]) -> None:
    """Said as a link or as an action; the web SDK's service worker knows a link alone."""
    shown = READERS[reader]({KEY: said})
    assert shown is not None
    assert shown.opens == LINK


CHANNEL = {KEY: {"android_channel": "news", "tap": {"type": "MECustomEvent", "name": "tapped"}}}


@pytest.mark.parametrize("opts", [{}, RICH, CHANNEL])
def test_the_other_generations_sdk_shows_the_push_and_reports_a_tap(opts: dict[str, Any]) -> None:
    """An app has one style, and an update with the other SDK takes weeks to reach its devices. Without its buttons,
    which each generation has in its own place; and V1 is of no use to generation 4 (AndroidPushMessageFactory.kt).
    """
    v3_apns, v4_apns = (
        decoded(STYLES[style].apns(sheet(opts, style))) for style in ("emarsys-v3", "emarsys-v4")
    )
    v2, v4 = (
        decoded(STYLES[style].fcm(sheet(opts, style, "v2")).data) for style in ("emarsys-v3", "emarsys-v4")
    )
    for shown in (payloads.v4_ios(v3_apns), payloads.v4_android(v2)):
        assert shown is not None
        assert (shown.title, json.loads(shown.tracked or "{}")["sid"]) == ('A "title"', SID)
    for shown in (payloads.ios(v4_apns), payloads.android(v4)):
        assert shown is not None
        assert (shown.title, shown.tracked) == ('A "title"', SID)
    for data in (v2, v4):
        assert data.get("notification.channelId") == data.get("notification.channel_id")


def test_what_a_sender_adds_goes_along_to_every_app() -> None:
    """To the app itself: in the multiplatform SDK, to services that it registered beside the SDK's
    (SAPEngagementCloudFirebaseMessagingService.kt at 4.0.1).
    """
    v3, v4 = (sheet(RICH, style) for style in ("emarsys-v3", "emarsys-v4"))
    added = {"deep": {"er": 1}, "plain": "text"}
    as_texts = {"deep": '{"er":1}', "plain": "text"}
    for data in (STYLES["emarsys-v3"].fcm(v3).data, STYLES["emarsys-v4"].fcm(v4).data):
        assert as_texts.items() <= data.items()
    v2 = STYLES["emarsys-v3"].fcm(sheet(RICH, "emarsys-v3", "v2")).data
    assert json.loads(v2["ems.root_params"]) == added
    for payload in (STYLES["emarsys-v3"].apns(v3), STYLES["emarsys-v4"].apns(v4)):
        assert added.items() <= payload.items()
    assert STYLES["emarsys-v3"].web(v3)["messageData"]["data"] == added
    assert STYLES["emarsys-v4"].web(v4)["ems"]["customData"] == added


@pytest.mark.parametrize("reader", ["android v1", "android v2", "v4 android"])
def test_a_repeat_replaces_the_first_on_android(reader: str) -> None:
    """A push with a collapse id takes the place of the one before it."""
    shown = READERS[reader]({})
    assert shown is not None
    assert shown.replaces == "repeat-1"


def test_what_a_sdk_ignores_or_cannot_read_is_told() -> None:
    """So that a style that went wrong fails above."""
    assert payloads.android({"title": "x", "body": "y"}) is None
    good = STYLES["emarsys-v3"].web(sheet({}, "emarsys-v3"))
    assert payloads.web({**good, "messageData": {**good["messageData"], "sid": ""}}) is None
    with pytest.raises(Crash):
        payloads.v4_android({"ems.version": "FCM_V2", "notification.title": "no body"})
    with pytest.raises(Crash):
        payloads.android({"ems_msg": "{}", "ems": '{"notificationMethod":{"operation":"nonsense"}}'})
