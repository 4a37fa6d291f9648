"""How the multiplatform SDK decodes answers: a missing field, or one of another type, makes all of it unreadable.

Followed (emartech/engagement-cloud-sdk at 4.0.1, below engagement-cloud-sdk/src/commonMain/kotlin/com/sap/ec/):
networking/clients/event/model/DeviceEventResponse.kt, networking/clients/embedded/messaging/model/*.kt,
networking/clients/embedded/messaging/serializer/MessageResponseSerializer.kt,
networking/clients/error/ResponseErrorBody.kt,
mobileengage/action/models/*.kt. With explicitNulls = false a nullable field may be missing.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
Texts = dict[str, tuple[str, ...]]
PRESENTABLE: Texts = {
    "MEAppEvent": ("name",),
    "MECustomEvent": ("name",),
    "OpenExternalUrl": ("url",),
    "Dismiss": (),
    "InApp": (),
}
"""PresentableActionModel's subclasses: by type, the texts that one must have; a type that is none of them makes all of
the answer unreadable.
"""
BASIC: Texts = {
    **PRESENTABLE,
    "copyToClipboard": ("text",),
    "RequestPushPermission": (),
    "RichContentDisplay": ("url", "animation"),
    "pushButtonClicked": ("trackingInfo",),
    "inAppButtonClicked": (),
}
"""BasicActionModel's, likewise. LaunchApplication is neither's: it is an ActionModel alone, which pushes have."""
TARGETS = {"_blank", "_top", "_parent", "_self"}


def read_events(body: Any) -> Json:
    read: Json = _object(body)
    _optional_text(read, "deviceEventState")
    for campaign in read.get("contentCampaigns") or []:
        if campaign["type"].lower() not in {"overlay", "inline", "embedded_messaging"}:
            raise ValueError(f"type {campaign['type']}")
        _texts(campaign, "trackingInfo", "content")
    for campaign in read.get("actionCampaigns") or []:
        _texts(campaign, "trackingInfo")
        for action in campaign["actions"]:
            _action(action, BASIC)
    return read


def read_error(body: Any) -> Json:
    error: Json = _object(_object(body)["error"])
    _texts(error, "code", "message", "target")
    for detail in error["details"]:
        _texts(detail, "code", "message")
    return error


def read_meta(body: Any) -> Json:
    meta = _object(body)
    _texts(meta, "version")
    _texts(_object(meta["labels"]), "pinnedMessagesTitle", "emptyStateTitle", "emptyStateDescription")
    return meta


def read_badge_count(body: Any) -> Json:
    badge = _object(body)
    _texts(badge, "version")
    _whole(badge["count"])
    return badge


def read_messages(body: Any) -> Json:
    page = _object(body)
    _texts(page, "version")
    _whole(page["top"])
    for category in page["meta"]["categories"]:
        _texts(category, "id", "value")
    for message in page["messages"]:
        _message(message)
    return page


def _message(message: Json) -> None:
    _texts(message, "id", "title", "lead", "trackingInfo")
    _whole(message["receivedAt"])
    if message.get("expiresAt") is not None:
        _whole(message["expiresAt"])
    if (image := message.get("listThumbnailImage")) is not None:
        _texts(image, "src")
    if (action := message.get("defaultAction")) is not None:
        _action(action, BASIC)
    for action in message["actions"]:
        _action(action, PRESENTABLE)
        _texts(action, "reporting", "title")
    for name in ("tags", "categoryIds"):
        if not all(isinstance(one, str) for one in message[name]):
            raise TypeError(name)
    if not all(isinstance(value, str) for value in _object(message["properties"]).values()):
        raise TypeError("properties")


def _action(action: Json, of_type: Texts) -> None:
    kind = action["type"]
    _texts(action, *of_type[kind])
    if "reporting" in action:
        _texts(action, "reporting")
    payload = action.get("payload")
    match kind:
        case "MEAppEvent" | "MECustomEvent" if payload is not None:
            _texts(payload, *_object(payload))
        case "OpenExternalUrl" if action.get("target") is not None:
            if action["target"] not in TARGETS:
                raise ValueError(f"target {action['target']}")
        case "InApp":
            _texts(_object(payload), "url")
        case "RichContentDisplay" if action["animation"] != "FADING_FROM_BOTTOM":
            raise ValueError(f"animation {action['animation']}")


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _texts(value: Json, *names: str) -> None:
    for name in names:
        if not isinstance(value[name], str):
            raise TypeError(name)


def _optional_text(value: Json, name: str) -> None:
    if value.get(name) is not None:
        _texts(value, name)


def _whole(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
