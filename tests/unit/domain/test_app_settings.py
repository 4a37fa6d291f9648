"""What may be in an app's settings: whatever is let in reads back the same, whatever cannot be is named."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.msgxc.app_bodies import AppBody, PutAppBody
from domain.app_settings import (
    EVENT_ACTIONS_MAX,
    FIELD_MAX,
    RATE_MAX,
    AppSettings,
    PushSettings,
    RateLimits,
)
from domain.devices.event_action import EventAction
from domain.devices.geofence import FENCES_MAX, GROUPS_MAX, RADIUS_M_MAX, Geofence, Geofences, Group, Trigger
from domain.errors import Invalid

numbers = st.one_of(st.none(), st.integers(1, FIELD_MAX))
texts = st.text(min_size=1, max_size=20)
actions = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(("MEAppEvent", "MECustomEvent")), "name": texts},
        optional={"id": texts, "payload": st.just({"a": 1}) | st.none()},
    ),
    st.fixed_dictionaries({"type": st.just("OpenExternalUrl"), "url": texts}),
)
"""Of triggers, which native SDKs alone carry out: payloads have values of any kind."""
event_actions = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(("MEAppEvent", "MECustomEvent")), "name": texts},
        optional={"payload": st.dictionaries(texts, st.text(max_size=20), max_size=2) | st.none()},
    ),
    st.fixed_dictionaries(
        {"type": st.just("OpenExternalUrl"), "url": texts}, optional={"target": st.just("_blank")}
    ),
    st.fixed_dictionaries({"type": st.just("BadgeCount"), "method": texts, "value": st.integers(0, 9)}),
    st.fixed_dictionaries({"type": st.just("copyToClipboard"), "text": texts}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(("Dismiss", "RequestPushPermission"))}, optional={"reporting": texts}
    ),
)
rates = st.integers(1, RATE_MAX)


@st.composite
def triggers(draw: st.DrawFn) -> Trigger:
    kind: Literal["ENTER", "EXIT", "DWELLING"] = draw(st.sampled_from(("ENTER", "EXIT", "DWELLING")))
    least = 1 if kind == "DWELLING" else 0
    return Trigger(
        id=draw(st.uuids().map(str)),
        type=kind,
        loitering_delay=draw(st.integers(least, 86_400_000)),
        action=draw(actions),
    )


@st.composite
def fences(draw: st.DrawFn) -> Geofence:
    return Geofence(
        id=draw(st.uuids().map(str)),
        lat=draw(st.floats(-90, 90)),
        lon=draw(st.floats(-180, 180)),
        r=draw(st.floats(0, RADIUS_M_MAX, exclude_min=True)),
        wait_interval=draw(st.one_of(st.none(), st.floats(0, 1e6))),
        triggers=tuple(draw(st.lists(triggers(), min_size=1, max_size=3))),
    )


@st.composite
def geofences(draw: st.DrawFn) -> Geofences:
    groups = draw(st.lists(st.lists(fences(), max_size=2), max_size=2))
    return Geofences(
        refresh_radius_ratio=draw(st.floats(0, 1, exclude_min=True)),
        groups=tuple(
            Group(id=f"group-{number}", wait_interval=draw(st.floats(0, 1e6)), geofences=tuple(group))
            for number, group in enumerate(groups)
        ),
    )


@st.composite
def settings(draw: st.DrawFn) -> AppSettings:
    limits = {name: draw(rates) for name in RateLimits.__struct_fields__}
    return AppSettings(
        merchant=draw(st.text(min_size=1, max_size=20)),
        name=draw(st.text(st.characters(categories=("L", "N")), max_size=50)),
        kind=draw(st.sampled_from(("app", "web-domain"))),
        anonymous_allowed=draw(st.booleans()),
        default_contact_field=draw(numbers),
        contact_field_app_installed=draw(numbers),
        contact_field_push_accepted=draw(numbers),
        contact_field_last_mobile_activity=draw(numbers),
        geofences=draw(geofences()),
        rate_limits=RateLimits(**limits),
        push=PushSettings(apns_topic=draw(st.sampled_from((None, "org.example.app")))),
        event_actions=tuple(
            EventAction(event="cart", campaign_id="7", actions=(each,))
            for each in draw(st.lists(event_actions, max_size=3))
        ),
        uses_external_push_domain=draw(st.booleans()),
        external_push_domain="push.example.org",
    )


@given(settings())
def test_whatever_is_valid_reads_back_the_same(given_settings: AppSettings) -> None:
    """From the log's JSON and from the API's, and it is still valid."""
    given_settings.assert_valid()
    written = msgspec.json.encode(given_settings)
    assert msgspec.json.decode(written, type=AppSettings) == given_settings
    body = msgspec.json.decode(written, type=PutAppBody)
    assert body.settings(given_settings.merchant) == given_settings


def test_the_api_can_say_all_that_there_is_to_set() -> None:
    """A setting that the log has and the API has not could never be changed."""
    assert set(AppBody.__struct_fields__) == set(AppSettings.__struct_fields__) - {"merchant"}


@given(settings())
def test_what_devices_get_of_geofences_has_all_they_need(given_settings: AppSettings) -> None:
    """On iOS a missing refreshRadiusRatio reads 0; Android refuses all for one missing waitInterval of a group."""
    sent = msgspec.json.decode(msgspec.json.encode(given_settings.geofences))
    assert sent["refreshRadiusRatio"] > 0
    for group in sent["groups"]:
        assert group["waitInterval"] >= 0
        for trigger in [trigger for fence in group["geofences"] for trigger in fence["triggers"]]:
            assert trigger["type"] in {"ENTER", "EXIT", "DWELLING"}
            assert trigger["type"] != "DWELLING" or trigger["loiteringDelay"] > 0
            assert trigger["action"]["type"]


ENTER = Trigger(id="t", type="ENTER", action={"type": "MECustomEvent", "name": "near"})
FENCE = Geofence(id="f", lat=1.0, lon=2.0, r=100.0, triggers=(ENTER,))
BASE = AppSettings(merchant="acme")
nan, infinity = math.nan, math.inf
replace = msgspec.structs.replace


def fenced(fence: Geofence) -> dict[str, Any]:
    return {"geofences": Geofences(groups=(Group(id="g", wait_interval=0, geofences=(fence,)),))}


def triggered(**changes: Any) -> dict[str, Any]:
    return fenced(replace(FENCE, triggers=(replace(ENTER, **changes),)))


def grouped(*groups: Group) -> dict[str, Any]:
    return {"geofences": Geofences(groups=groups)}


AT_FENCE = "geofences.groups[0].geofences[0]"
AT_ACTION = f"{AT_FENCE}.triggers[0].action"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "x" * 257}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"default_contact_field": 0}, "default_contact_field"),
    ({"contact_field_app_installed": FIELD_MAX + 1}, "contact_field_app_installed"),
    ({"contact_field_push_accepted": -1}, "contact_field_push_accepted"),
    ({"contact_field_last_mobile_activity": 0}, "contact_field_last_mobile_activity"),
    ({"rate_limits": RateLimits(client_per_minute=0)}, "rate_limits.client_per_minute"),
    ({"rate_limits": RateLimits(address_per_minute=RATE_MAX + 1)}, "rate_limits.address_per_minute"),
    ({"push": PushSettings(apns_topic="no topic")}, "push.apns_topic"),
    ({"push": PushSettings(apns_topic="")}, "push.apns_topic"),
    ({"uses_external_push_domain": True}, "external_push_domain"),
    ({"external_push_domain": "https://example.org"}, "external_push_domain"),
    ({"external_push_domain": "Example.org"}, "external_push_domain"),
    ({"external_push_domain": "-a.example.org"}, "external_push_domain"),
    ({"geofences": Geofences(refresh_radius_ratio=0)}, "geofences.refreshRadiusRatio"),
    ({"geofences": Geofences(refresh_radius_ratio=1.1)}, "geofences.refreshRadiusRatio"),
    ({"geofences": Geofences(refresh_radius_ratio=nan)}, "geofences.refreshRadiusRatio"),
    (grouped(Group(id="g", wait_interval=-1, geofences=())), "geofences.groups[0].waitInterval"),
    (grouped(Group(id="g", wait_interval=infinity, geofences=())), "geofences.groups[0].waitInterval"),
    (grouped(*[Group(id="g", wait_interval=0, geofences=())] * 2), "geofences.groups"),
    (grouped(Group(id="", wait_interval=0, geofences=())), "geofences.groups"),
    (
        grouped(*[Group(id=str(n), wait_interval=0, geofences=()) for n in range(GROUPS_MAX + 1)]),
        "geofences.groups",
    ),
    (
        grouped(
            Group(
                id="g",
                wait_interval=0,
                geofences=tuple(replace(FENCE, id=str(n)) for n in range(FENCES_MAX + 1)),
            )
        ),
        "geofences.groups",
    ),
    (
        grouped(*[Group(id=name, wait_interval=0, geofences=(FENCE,)) for name in ("a", "b")]),
        "geofences.groups",
    ),
    (triggered(action={"type": "MECustomEvnt", "name": "near"}), f"{AT_ACTION}.type"),
    (triggered(action={"type": "MECustomEvent"}), f"{AT_ACTION}.name"),
    (triggered(action={"type": "MEAppEvent", "name": ""}), f"{AT_ACTION}.name"),
    (triggered(action={"type": "MEAppEvent", "name": "near", "payload": "a"}), f"{AT_ACTION}.payload"),
    (triggered(action={"type": "OpenExternalUrl", "uri": "https://example.org"}), f"{AT_ACTION}.url"),
    (triggered(action={"type": "BadgeCount", "method": "ADD", "value": "1"}), f"{AT_ACTION}.value"),
    (fenced(replace(FENCE, lat=90.1)), f"{AT_FENCE}.lat"),
    (fenced(replace(FENCE, lat=nan)), f"{AT_FENCE}.lat"),
    (fenced(replace(FENCE, lon=-180.1)), f"{AT_FENCE}.lon"),
    (fenced(replace(FENCE, r=0)), f"{AT_FENCE}.r"),
    (fenced(replace(FENCE, r=RADIUS_M_MAX + 1)), f"{AT_FENCE}.r"),
    (fenced(replace(FENCE, r=nan)), f"{AT_FENCE}.r"),
    (fenced(replace(FENCE, wait_interval=-0.1)), f"{AT_FENCE}.waitInterval"),
    (fenced(replace(FENCE, triggers=())), f"{AT_FENCE}.triggers"),
    (fenced(replace(FENCE, triggers=(ENTER, ENTER))), f"{AT_FENCE}.triggers"),
    (triggered(type="DWELLING"), f"{AT_FENCE}.triggers[0].loiteringDelay"),
    (triggered(loitering_delay=-1), f"{AT_FENCE}.triggers[0].loiteringDelay"),
    (triggered(action={}), f"{AT_FENCE}.triggers[0].action.type"),
    (triggered(action={"type": 7}), f"{AT_FENCE}.triggers[0].action.type"),
    (
        {"event_actions": (EventAction(event="", campaign_id="7", message={"msg": "hi"}),)},
        "event_actions[0].event",
    ),
    (
        {"event_actions": (EventAction(event="e", campaign_id="", message={"msg": "hi"}),)},
        "event_actions[0].campaign_id",
    ),
    ({"event_actions": (EventAction(event="e", campaign_id="7"),)}, "event_actions[0]"),
    (
        {"event_actions": (EventAction(event="e", campaign_id="7", actions=({"name": "x"},)),)},
        "event_actions[0].actions[0].type",
    ),
    (
        {
            "event_actions": (EventAction(event="e", campaign_id="7", message={"m": "x"}),)
            * (EVENT_ACTIONS_MAX + 1)
        },
        "event_actions",
    ),
]


@pytest.mark.parametrize(
    ("changes", "field"), WRONG, ids=[f"{n}-{field}" for n, (_, field) in enumerate(WRONG)]
)
def test_what_cannot_be_is_named(changes: dict[str, Any], field: str) -> None:
    """The error says which field, down to the trigger; the settings beside it are right."""
    BASE.assert_valid()
    with pytest.raises(Invalid) as refused:
        replace(BASE, **changes).assert_valid()
    assert refused.value.field == field


def test_deep_nesting_is_refused() -> None:
    """What is let in is written and read many times, inside other values."""
    deep: dict[str, Any] = {"type": "x"}
    for _ in range(70):
        deep = {"type": "x", "payload": deep}
    with pytest.raises(Invalid):
        replace(BASE, **triggered(action=deep)).assert_valid()
