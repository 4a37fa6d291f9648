"""Geofences as devices watch them. The names of the fields are those of the wire, on the log too.

Owns what a fence may be, so that no device refuses the set that holds it. Knows no app and no HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from domain.errors import Invalid
from domain.text.nesting import assert_shallow

GROUPS_MAX = 100
FENCES_MAX = 1_000
"""Of one app. A device registers the nearest ones (20 on iOS, 100 on Android) and gets all of them on each look."""
TRIGGERS_MAX = 10
"""Of one fence."""
RADIUS_M_MAX = 100_000
REFRESH_RADIUS_RATIO = 0.3
"""How much of the way to the farthest watched fence a device goes before it looks for nearer ones."""

ID_MAX = 128
LOITERING_MS_MAX = 86_400_000


class Trigger(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a device does when it enters, leaves or stays: action is the device's to carry out.

    loitering_delay: milliseconds to stay before DWELLING; 0 for the others.
    """

    id: str
    type: Literal["ENTER", "EXIT", "DWELLING"]
    loitering_delay: int = 0
    action: dict[str, Any]


class Geofence(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """lat, lon: degrees. r: metres. wait_interval: seconds before the same fence triggers again; None: its group's."""

    id: str
    lat: float
    lon: float
    r: float
    wait_interval: float | None = None
    triggers: tuple[Trigger, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """wait_interval: seconds. Required: Android refuses the whole answer when one group lacks it."""

    id: str
    wait_interval: float
    geofences: tuple[Geofence, ...]


class Geofences(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """refresh_radius_ratio is always there: iOS reads a missing one as 0, which is a look at every step."""

    refresh_radius_ratio: float = REFRESH_RADIUS_RATIO
    groups: tuple[Group, ...] = ()

    def assert_valid(self, *, field: str) -> None:
        """Raises Invalid for what types alone cannot tell, naming the place."""
        _assert_ratio(self.refresh_radius_ratio, f"{field}.refreshRadiusRatio")
        if len(self.groups) > GROUPS_MAX:
            raise Invalid(f"at most {GROUPS_MAX} groups", field=f"{field}.groups")
        if sum(len(group.geofences) for group in self.groups) > FENCES_MAX:
            raise Invalid(f"at most {FENCES_MAX:,} geofences in all groups together", field=f"{field}.groups")
        _assert_ids((group.id for group in self.groups), field=f"{field}.groups")
        fences = [fence.id for group in self.groups for fence in group.geofences]
        _assert_ids(fences, field=f"{field}.groups")
        for number, group in enumerate(self.groups):
            _assert_group(group, f"{field}.groups[{number}]")

    def actions(self, field: str) -> Iterator[tuple[dict[str, Any], str]]:
        """What devices carry out, each with its place."""
        for number, group in enumerate(self.groups):
            for each, fence in enumerate(group.geofences):
                for which, trigger in enumerate(fence.triggers):
                    at = f"{field}.groups[{number}].geofences[{each}].triggers[{which}]"
                    yield trigger.action, f"{at}.action"


def _assert_group(group: Group, field: str) -> None:
    _assert_wait(group.wait_interval, field)
    for number, fence in enumerate(group.geofences):
        _assert_fence(fence, f"{field}.geofences[{number}]")


def _assert_fence(fence: Geofence, field: str) -> None:
    if not math.isfinite(fence.lat) or not -90 <= fence.lat <= 90:
        raise Invalid("degrees from -90 to 90", field=f"{field}.lat")
    if not math.isfinite(fence.lon) or not -180 <= fence.lon <= 180:
        raise Invalid("degrees from -180 to 180", field=f"{field}.lon")
    if not 0 < fence.r <= RADIUS_M_MAX:
        raise Invalid(f"metres, over 0 and at most {RADIUS_M_MAX:,}", field=f"{field}.r")
    if fence.wait_interval is not None:
        _assert_wait(fence.wait_interval, field)
    if not 1 <= len(fence.triggers) <= TRIGGERS_MAX:
        raise Invalid(f"1 to {TRIGGERS_MAX} triggers", field=f"{field}.triggers")
    _assert_ids((trigger.id for trigger in fence.triggers), field=f"{field}.triggers")
    for number, trigger in enumerate(fence.triggers):
        _assert_trigger(trigger, f"{field}.triggers[{number}]")


def _assert_trigger(trigger: Trigger, field: str) -> None:
    if not 0 <= trigger.loitering_delay <= LOITERING_MS_MAX:
        raise Invalid(f"milliseconds, at most {LOITERING_MS_MAX:,}", field=f"{field}.loiteringDelay")
    if trigger.type == "DWELLING" and trigger.loitering_delay == 0:
        raise Invalid("DWELLING needs the milliseconds to stay", field=f"{field}.loiteringDelay")
    assert_shallow(trigger.action, field=f"{field}.action")
    if not isinstance(trigger.action.get("type"), str) or not trigger.action["type"]:
        raise Invalid("an action says its type, such as MECustomEvent", field=f"{field}.action.type")


def _assert_ratio(ratio: float, field: str) -> None:
    if not 0 < ratio <= 1:
        raise Invalid("over 0 and at most 1", field=field)


def _assert_wait(seconds: float, field: str) -> None:
    if not math.isfinite(seconds) or seconds < 0:
        raise Invalid("seconds, 0 or more", field=f"{field}.waitInterval")


def _assert_ids(ids: Iterable[str], *, field: str) -> None:
    seen: set[str] = set()
    for each in ids:
        if not 1 <= len(each) <= ID_MAX:
            raise Invalid(f"an id has 1 to {ID_MAX} characters", field=field)
        if each in seen:
            raise Invalid(f"the id {each!r} is there twice", field=field)
        seen.add(each)
