"""What a device event may lead to: what each SDK can read, and what can be sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.app_settings import AppSettings
from domain.devices.event_action import EventAction, faults, is_read_by_v5, message_of
from domain.errors import Invalid
from domain.message import TTL_S_MAX
from tests.replays.sdks import answers_v4

GOOD_ACTIONS: list[dict[str, Any]] = [
    {"type": "MEAppEvent", "name": "n"},
    {"type": "MEAppEvent", "name": "n", "payload": None},
    {"type": "MECustomEvent", "name": "n", "payload": {"a": "1"}, "reporting": "r"},
    {"type": "OpenExternalUrl", "url": "https://a.example"},
    {"type": "OpenExternalUrl", "url": "app://a", "target": "_blank", "extra": [1]},
    {"type": "Dismiss"},
    {"type": "copyToClipboard", "text": "t"},
    {"type": "RequestPushPermission"},
]
WRONG_ACTIONS: list[tuple[dict[str, Any], str]] = [
    ({"type": "Frobnicate"}, "type"),
    ({"type": "LaunchApplication"}, "type"),
    ({"type": ["MEAppEvent"]}, "type"),
    ({"type": "MEAppEvent"}, "name"),
    ({"type": "MEAppEvent", "name": ""}, "name"),
    ({"type": "MECustomEvent", "name": 7}, "name"),
    ({"type": "MECustomEvent", "name": "n", "payload": "p"}, "payload"),
    ({"type": "MEAppEvent", "name": "n", "payload": {"a": 1}}, "payload.a"),
    ({"type": "MEAppEvent", "name": "n", "payload": {"a": {"b": "c"}}}, "payload.a"),
    ({"type": "MEAppEvent", "name": "n", "reporting": None}, "reporting"),
    ({"type": "MEAppEvent", "name": "n", "source": {"type": "x"}}, "source"),
    ({"type": "OpenExternalUrl"}, "url"),
    ({"type": "OpenExternalUrl", "url": "u", "target": "_new"}, "target"),
    ({"type": "OpenExternalUrl", "url": "u", "target": {}}, "target"),
    ({"type": "copyToClipboard"}, "text"),
    ({"type": "BadgeCount", "method": "ADD"}, "value"),
    ({"type": "BadgeCount", "value": 1}, "method"),
    ({"type": "BadgeCount", "method": "ADD", "value": True}, "value"),
]
WRONG_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"foo": 1}, "msg"),
    ({"msg": ""}, "msg"),
    ({"msg": 7}, "msg"),
    ({"msg": "m", "title": None}, "title"),
    ({"msg": "m", "opts": []}, "opts"),
    ({"msg": "m", "opts": {"ttl": "5"}}, "opts.ttl"),
    ({"msg": "m", "opts": {"ttl": -5}}, "opts.ttl"),
    ({"msg": "m", "opts": {"ttl": True}}, "opts.ttl"),
    ({"msg": "m", "opts": {"ttl": TTL_S_MAX + 1}}, "opts.ttl"),
    ({"msg": "m", "opts": {"urgency": 5}}, "opts.urgency"),
    ({"msg": "m", "opts": {"push": {"image": 7}}}, "opts.push"),
    ({"msg": "m", "opts": {"push": {"actions": [{"title": "no id"}]}}}, "opts.push.actions"),
]


def action(*actions: dict[str, Any], **message: Any) -> EventAction:
    return EventAction(event="e", campaign_id="7", actions=actions, message=message)


@pytest.mark.parametrize("good", GOOD_ACTIONS, ids=str)
def test_what_is_taken_can_be_read(good: dict[str, Any]) -> None:
    """By the multiplatform SDK, as its own decoder has it."""
    action(good).assert_valid("a")
    assert is_read_by_v5(good)
    answers_v4.read_events({"actionCampaigns": [{"trackingInfo": "7", "actions": [good]}]})


@pytest.mark.parametrize(("wrong", "field"), WRONG_ACTIONS, ids=str)
def test_an_action_that_an_sdk_cannot_read_is_named(wrong: dict[str, Any], field: str) -> None:
    """With the place; it is left out of v5's answers, too."""
    with pytest.raises(Invalid) as refused:
        action({"type": "Dismiss"}, wrong).assert_valid("a")
    assert refused.value.field == f"a.actions[1].{field}"
    assert not is_read_by_v5(wrong)


def test_what_ios_alone_knows_is_taken_but_not_told_to_v5() -> None:
    """A type that the multiplatform SDK does not know makes all of its answer unreadable."""
    badge = {"type": "BadgeCount", "method": "ADD", "value": 1}
    action(badge).assert_valid("a")
    assert not is_read_by_v5(badge)


@pytest.mark.parametrize(("wrong", "field"), WRONG_MESSAGES, ids=str)
def test_a_message_that_nobody_could_be_sent_is_named(wrong: dict[str, Any], field: str) -> None:
    """With the place, down to the option."""
    with pytest.raises(Invalid) as refused:
        action(**wrong).assert_valid("a")
    assert refused.value.field == f"a.message.{field}"


def test_a_message_is_sent_as_it_says() -> None:
    """Its ttl and urgency decide how; the other options go along."""
    opts = {"ttl": 0, "urgency": 4, "push": {"image": "https://a.example/i.png"}}
    made = message_of(action(msg="m", title="t", opts=opts))
    assert (made.content.text, made.content.subject, made.ttl_s, made.urgency) == ("m", "t", 0, 4)
    assert made.content.opts == {"push": opts["push"]}


def test_settings_of_before_a_bound_still_load() -> None:
    """What the log has is read as ever; the faulty ones are named by their place, the good ones are not."""
    good, bad = action(msg="m"), action(foo=1)
    written = msgspec.json.encode(AppSettings(merchant="m", event_actions=(bad, good, action({"type": "X"}))))
    settings = msgspec.json.decode(written, type=AppSettings)
    found = [fault.field for fault in faults(settings.event_actions)]
    assert found == ["event_actions[0].message.msg", "event_actions[2].actions[0].type"]


def test_a_misspelt_field_of_a_message_is_refused_but_passes_over_no_message_of_before() -> None:
    """It says nothing, and the rest is sent as it says; so nobody is warned that it is not."""
    misspelt = action(msg="m", tittle="t")
    with pytest.raises(Invalid, match="did you mean title") as refused:
        misspelt.assert_valid("a")
    assert refused.value.field == "a.message.tittle"
    assert message_of(misspelt).content.text == "m"
    assert not [*faults([misspelt])]
