"""Push payloads as the Engagement Cloud SDK (generation 4) reads them: Android, iOS and the browser.

Source: the SDK's parsers at 4.0.1 (`AndroidPushV2Mapper`, `AndroidPushMessageFactory`, `PushUserInfo`,
`RemoteWebPushMessageV2`, `ActionModel`), which the tests quote. `ems.trackingInfo` is opaque to the SDK, which sends it
back with each click. `u`, `ems.sid` and `notification.channel_id`: by these a device that still has generation 3 (on
Android from 3.7.0 on) shows the message and reports a tap.
"""

from __future__ import annotations

from domain.notifications.push import Action, PushContent
from gateways.rendering import encode_json
from gateways.styles.sheet import FcmForm, Json, Sheet, given, texts


class EmarsysV4:
    def apns(self, sheet: Sheet) -> Json:
        content, push = sheet.content, sheet.push
        return {
            **push.data,
            "aps": {
                "alert": given(title=content.subject, body=content.text),
                "mutable-content": 1,
                **given(sound=content.opts.get("sound"), badge=content.opts.get("badge")),
            },
            "notification": {"silent": False, **given(imageUrl=push.image), **_deeds(push)},
            "ems": {"version": "APNS_V2", "trackingInfo": sheet.tracking},
            "u": {"sid": sheet.marks.sid},
        }

    def fcm(self, sheet: Sheet) -> FcmForm:
        """Data only; the SDK takes it by `ems.version`, and needs title and body even when they are empty.

        It reads none of the sender's own, but hands all of it on to services of the app's.
        """
        content, push = sheet.content, sheet.push
        deeds = {name: encode_json(value).decode() for name, value in _deeds(push).items()}
        named: Json = {
            "notification.imageUrl": push.image,
            "notification.icon": push.icon,
            "notification.channelId": push.android_channel,
            "notification.channel_id": push.android_channel,
            "notification.style": push.android_style,
            "notification.defaultAction": deeds.get("defaultAction", ""),
            "notification.actions": deeds.get("actions", ""),
        }
        return FcmForm(
            {
                **texts(push.data),
                **{name: value for name, value in named.items() if value},
                "notification.silent": "false",
                "notification.title": content.subject,
                "notification.body": content.text,
                "notification.collapseId": sheet.marks.id,
                "notification.operation": "INIT",
                "ems.version": "FCM_V2",
                "ems.trackingInfo": sheet.tracking,
                "ems.sid": sheet.marks.sid,
            }
        )

    def web(self, sheet: Sheet) -> Json:
        content, push = sheet.content, sheet.push
        return {
            "notification": {
                "silent": False,
                "title": content.subject,
                "body": content.text,
                **given(icon=push.icon, imageUrl=push.image),
                **_deeds(push),
            },
            "ems": {
                "version": "WEB_V2",
                "trackingInfo": sheet.tracking,
                **given(customData=push.data),
            },
        }


def _deeds(push: PushContent) -> Json:
    tap = push.tap or (Action(url=push.link) if push.link else None)
    return given(
        defaultAction=_deed(tap) if tap else None,
        actions=[
            {"id": action.id, "title": action.title or action.id, **_deed(action)} for action in push.actions
        ],
    )


def _deed(action: Action) -> Json:
    """reporting: handed back with the click; every action must have one. So must an event its payload."""
    base: Json = {"type": action.type, "reporting": encode_json({"id": action.id}).decode()}
    match action.type:
        case "OpenExternalUrl" if action.url:
            return {**base, "url": action.url}
        case "MEAppEvent" | "MECustomEvent":
            return {**base, "name": action.name, "payload": action.payload}
        case _:
            return {**base, "type": "Dismiss"}
