"""What each SDK makes of a push's payload: what it shows, and what a tap is reported with. None: it ignores the push.

Followed: android-emarsys-sdk 3.11.0 mobile-engage/service/MessagingServiceUtils.kt,
mobile-engage/service/mapper/RemoteMessageMapperV1.kt, RemoteMessageMapperV2.kt; ios-emarsys-sdk 3.10.2
MobileEngage/Category/NSDictionary+MobileEngage.m, MobileEngage/Push/EMSPushV3Internal.m,
MobileEngage/RichNotificationExtension/EMSNotificationService+Actions.m; web push SDK 2.6 utils.js (isValidPayload),
emarsys-service-worker.js; engagement-cloud-sdk 4.0.1 AndroidPushMessageFactory.kt, AndroidPushV2Mapper.kt,
IosPushUserInfo.kt, RemoteWebPushMessageV2.kt, mobileengage/action/models/*.kt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

type Json = dict[str, Any]

MISSING_SID = "Missing sid"
NEEDS = {"MEAppEvent": "name", "MECustomEvent": "name", "OpenExternalUrl": "url"}
"""The text that an action of a type must have."""


class Crash(Exception):
    """The SDK's parser throws: the notification is not shown."""


@dataclass(frozen=True, slots=True)
class Shown:
    """tracked: what comes back with a click, the sid or v4's trackingInfo; None: a click is not reported.

    replaces: the id under which a repeat replaces the notification; "" for none. opens: the URL that a tap opens.
    """

    title: str
    body: str
    tracked: str | None
    replaces: str = ""
    image: str = ""
    actions: tuple[str, ...] = field(default=())
    """Ids of the buttons."""
    opens: str = ""


def android(data: Mapping[str, str]) -> Shown | None:
    """Of FCM's data."""
    assert all(isinstance(value, str) for value in data.values()), "FCM's data are texts"
    if "ems_msg" in data:
        return _android_v1(data)
    return _android_v2(data) if "ems.version" in data else None


def _android_v1(data: Mapping[str, str]) -> Shown | None:
    ems, u = _object(data.get("ems", "{}")), _object(data.get("u", "{}"))
    if ems.get("silent") is True:
        return None
    method = ems.get("notificationMethod") or {}
    _operation(method.get("operation", "INIT"))
    actions = ems.get("actions")
    if isinstance(actions, str):
        actions = json.loads(actions)
    return Shown(
        data.get("title", ""),
        data.get("body", ""),
        u.get("sid", MISSING_SID),
        method.get("collapseId", ""),
        data.get("image_url", ""),
        _native_actions(actions),
        _opened(ems.get("default_action")),
    )


def _android_v2(data: Mapping[str, str]) -> Shown | None:
    if data.get("ems.silent", "").lower() == "true":
        return None
    _operation(data.get("ems.notification_method.operation", "INIT"))
    tap = "ems.tap_actions.default_action"
    if f"{tap}.payload" in data:
        _object(data[f"{tap}.payload"])
    return Shown(
        data.get("notification.title", ""),
        data.get("notification.body", ""),
        data.get("ems.sid", MISSING_SID),
        data.get("ems.notification_method.collapse_key", ""),
        data.get("notification.image", ""),
        _native_actions(json.loads(data.get("ems.actions", "[]"))),
        _opened({"type": data.get(f"{tap}.type"), "url": data.get(f"{tap}.url", "")}),
    )


def ios(payload: Json) -> Shown | None:
    """Of APNs' payload; without mutable-content its buttons and image are never made."""
    custom = payload.get("u")
    if isinstance(custom, str):
        custom = _object(custom)
    alert, ems = payload["aps"].get("alert", {}), payload.get("ems", {})
    is_rich = payload["aps"].get("mutable-content") == 1
    return Shown(
        alert.get("title", ""),
        alert.get("body", ""),
        (custom or {}).get("sid"),
        image=payload.get("image_url", "") if is_rich else "",
        actions=_native_actions(ems.get("actions")) if is_rich else (),
        opens=_opened(ems.get("default_action")),
    )


def _opened(action: Any) -> str:
    return str(action["url"]) if action and action["type"] == "OpenExternalUrl" else ""


def _native_actions(actions: Any) -> tuple[str, ...]:
    """Those that become buttons: one with a field missing is left out for itself."""
    return tuple(action["id"] for action in actions or () if _is_button(action))


def _is_button(action: Any) -> bool:
    texts = all(isinstance(action.get(name), str) for name in ("id", "title", "type"))
    if not texts or action["type"] not in {*NEEDS, "Dismiss"}:
        return False
    needed = NEEDS.get(action["type"])
    return needed is None or isinstance(action.get(needed), str)


def web(payload: Any) -> Shown | None:
    """Silently dropped unless three texts are not empty and the settings are an object."""
    data = payload.get("messageData") if isinstance(payload, dict) else None
    if not isinstance(data, dict):
        return None
    texts = all(isinstance(data.get(name), str) and data[name] for name in ("id", "sid", "applicationCode"))
    settings = data.get("notificationSettings")
    if not texts or not isinstance(settings, dict | list):
        return None
    if isinstance(settings, list):
        settings = {}
    actions = tuple(action["id"] for action in settings.get("actions") or ())
    return Shown(
        payload.get("title") or "",
        payload.get("message") or "",
        data["sid"],
        image=settings.get("image", ""),
        actions=actions,
        opens=settings.get("link") or "",
    )


def v4_android(data: Mapping[str, str]) -> Shown | None:
    assert all(isinstance(value, str) for value in data.values()), "FCM's data are texts"
    if data.get("ems.version") != "FCM_V2" or data.get("notification.silent") == "true":
        return None
    for name in ("notification.title", "notification.body"):
        if name not in data:
            raise Crash(f"no {name}")
    _operation(data.get("notification.operation", "INIT"))
    tap = json.loads(data.get("notification.defaultAction", "null"))
    if tap is not None:
        _v4_action(tap)
    return Shown(
        data["notification.title"],
        data["notification.body"],
        data.get("ems.trackingInfo", "{}"),
        data.get("notification.collapseId", ""),
        data.get("notification.imageUrl", ""),
        _v4_actions(json.loads(data.get("notification.actions", "[]"))),
        _opened(tap),
    )


def v4_ios(payload: Json) -> Shown | None:
    ems, notification, alert = payload["ems"], payload["notification"], payload["aps"]["alert"]
    _texts(ems, "version", "trackingInfo")
    if notification.get("defaultAction") is not None:
        _v4_action(notification["defaultAction"])
    return Shown(
        alert.get("title", ""),
        alert.get("body", ""),
        ems["trackingInfo"],
        actions=_v4_actions(notification.get("actions") or []),
        opens=_opened(notification.get("defaultAction")),
    )


def v4_web(payload: Json) -> Shown | None:
    notification, ems = payload["notification"], payload["ems"]
    if not isinstance(notification["silent"], bool):
        raise Crash("silent is no boolean")
    _texts(notification, "title", "body")
    _texts(ems, "version", "trackingInfo")
    if notification.get("defaultAction") is not None:
        _v4_action(notification["defaultAction"])
    return Shown(
        notification["title"],
        notification["body"],
        ems["trackingInfo"],
        image=notification.get("imageUrl", ""),
        actions=_v4_actions(notification.get("actions") or []),
        opens=_opened(notification.get("defaultAction")),
    )


def _v4_actions(actions: list[Json]) -> tuple[str, ...]:
    """One that cannot be decoded loses the whole push."""
    for action in actions:
        _v4_action(action)
        _texts(action, "id", "reporting", "title")
    return tuple(action["id"] for action in actions)


def _v4_action(action: Json) -> None:
    if action["type"] not in {*NEEDS, "Dismiss"}:
        raise Crash(f"type {action['type']}")
    if needed := NEEDS.get(action["type"]):
        _texts(action, needed)
    payload = action.get("payload")
    if payload is not None and not all(isinstance(value, str) for value in payload.values()):
        raise Crash("a payload's values are texts")


def _texts(value: Json, *names: str) -> None:
    for name in names:
        if not isinstance(value.get(name), str):
            raise Crash(f"{name} is no text: {value!r}")


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        raise Crash(f"no JSON: {text!r}") from None
    if not isinstance(found, dict):
        raise Crash(f"no object: {text!r}")
    return found


def _operation(name: str) -> None:
    if name.upper() not in {"INIT", "UPDATE", "DELETE"}:
        raise Crash(f"operation {name}")
