"""How the native SDKs read geofences, inbox and inline messages; what one would silently leave out is a surprise.

Followed: android-emarsys-sdk 3.11.0 mobile-engage/geofence/GeofenceResponseMapper.kt, DefaultGeofenceInternal.kt
(createRefreshAreaGeofence), mobile-engage/inbox/MessageInboxResponseMapper.kt; ios-emarsys-sdk 3.10.2
MobileEngage/Geofence/EMSGeofenceResponseMapper.m,
MobileEngage/InboxV3/EMSInboxResultParser.m.
"""

from __future__ import annotations

from typing import Any

from tests.replays.sdks.surprises import Surprises

Json = dict[str, Any]
TRIGGERS = ("ENTER", "EXIT", "DWELLING")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def android_geofences(body: Any, surprises: Surprises) -> list[Json]:
    """One group without its numbers, or one fence, loses all groups; a trigger is left out for itself. Of no fence at
    all it takes the last, and the app crashes.
    """
    groups = body.get("groups") if isinstance(body, dict) else None
    if not isinstance(groups, list):
        surprises.add("rejected geofences: no groups")
        return []
    for group in groups:
        good = is_text(group.get("id")) and is_number(group.get("waitInterval"))
        if not good or not isinstance(group.get("geofences"), list):
            surprises.add(f"rejected all geofences: group {group!r}")
            return []
        for fence in group["geofences"]:
            numbers = all(is_number(fence.get(name)) for name in ("lat", "lon", "r"))
            if not numbers or not isinstance(fence.get("triggers"), list):
                surprises.add(f"rejected all geofences: fence {fence!r}")
                return []
            _triggers(fence, surprises, TRIGGERS)
    found = [group for group in groups if group["geofences"]]
    if not found:
        surprises.add("crashed: no geofences")
    return found


def ios_geofences(body: Any, surprises: Surprises) -> list[Json]:
    """A missing ratio is read as 0, so that the fences are never fetched again."""
    if not isinstance(body, dict) or not isinstance(body.get("groups"), list):
        surprises.add("rejected geofences: no groups")
        return []
    if not body.get("refreshRadiusRatio"):
        surprises.add("rejected geofences: a refreshRadiusRatio of 0")
    kinds = (*TRIGGERS, *(kind.lower() for kind in TRIGGERS))
    for group in body["groups"]:
        for fence in group["geofences"]:
            _triggers(fence, surprises, kinds)
    return [group for group in body["groups"] if any(fence["triggers"] for fence in group["geofences"])]


def _triggers(fence: Json, surprises: Surprises, kinds: tuple[str, ...]) -> None:
    for trigger in fence["triggers"]:
        kind = trigger.get("type")
        good = is_text(trigger.get("id")) and kind in kinds and isinstance(trigger.get("action"), dict)
        if not good or (kind.upper() == "DWELLING" and not is_number(trigger.get("loiteringDelay"))):
            surprises.add(f"rejected trigger: {trigger!r}")


def android_inbox(body: Any, surprises: Surprises) -> list[Json]:
    return _inbox(body, surprises, numbers=("receivedAt", "updatedAt"))


def ios_inbox(body: Any, surprises: Surprises) -> list[Json]:
    return _inbox(body, surprises, numbers=("receivedAt",))


def _inbox(body: Any, surprises: Surprises, numbers: tuple[str, ...]) -> list[Json]:
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list):
        surprises.add("rejected the inbox: no messages")
        return []
    shown = []
    for message in messages:
        texts = all(is_text(message.get(name)) for name in ("id", "campaignId", "title", "body"))
        if texts and all(is_number(message.get(name)) for name in numbers):
            shown.append(message)
        else:
            surprises.add(f"rejected an inbox message: {message!r}")
    return shown


def inline(body: Any, surprises: Surprises) -> list[Json]:
    """204 has none."""
    if body is None:
        return []
    messages = body.get("inlineMessages", [])
    for message in messages:
        if not all(is_text(message.get(name)) for name in ("viewId", "html")):
            surprises.add(f"rejected an inline message: {message!r}")
    return list(messages)
