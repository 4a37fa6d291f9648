"""Push payloads as the Emarsys SDKs of generation 3 read them: Android (V1 and V2), iOS and the browser.

Source: the SDKs' parsers (android 3.11.0, `RemoteMessageMapperV1`, `RemoteMessageMapperV2`; ios 3.10.2,
`EMSPushV3Internal`, `EMSNotificationService+Actions`), which the tests quote.
"""

from __future__ import annotations

from domain.notifications.push import Action, PushContent
from gateways.rendering import encode_json
from gateways.styles.sheet import FcmForm, Json, Sheet, given, texts


class EmarsysV3:
    def apns(self, sheet: Sheet) -> Json:
        """`mutable-content`: the SDK's service extension downloads the image and makes the buttons. notification, and
        version and trackingInfo in ems: by these a device that has generation 4 already reports a tap.
        """
        content, push = sheet.content, sheet.push
        ems = given(
            multichannelId=sheet.campaign,
            actions=[_action(action) for action in push.actions],
            default_action=_tap(push),
            version="APNS_V2",
            trackingInfo=sheet.tracking,
        )
        return {
            **push.data,
            "aps": {
                "alert": given(title=content.subject, body=content.text),
                "mutable-content": 1,
                **given(sound=content.opts.get("sound"), badge=content.opts.get("badge")),
            },
            **given(image_url=push.image),
            "u": {"sid": sheet.marks.sid},
            "ems": ems,
            "ems_msg": {},
            "notification": {},
        }

    def fcm(self, sheet: Sheet) -> FcmForm:
        """Data only: the SDK itself shows it, so that a tap is reported."""
        return FcmForm(_android_v2(sheet) if sheet.app.android == "v2" else _android_v1(sheet))

    def web(self, sheet: Sheet) -> Json:
        """The SDK drops a push without a word unless id, sid and applicationCode are texts, not empty, and
        notificationSettings is an object.
        """
        content, push = sheet.content, sheet.push
        return {
            "title": content.subject,
            "message": content.text,
            "messageData": {
                "id": sheet.campaign,
                "sid": sheet.marks.sid,
                "applicationCode": sheet.app.code,
                "treatments": push.treatments,
                "notificationSettings": given(
                    icon=push.icon,
                    image=push.image,
                    link=push.opens,
                    actions=[_action(action) for action in push.actions],
                ),
                **given(data=push.data),
            },
        }


def _android_v1(sheet: Sheet) -> dict[str, str]:
    """Read by every SDK of generation 3. `u` and `ems` are JSON within the text."""
    content, push = sheet.content, sheet.push
    ems: Json = {
        **given(
            multichannelId=sheet.campaign,
            style=push.android_style,
            actions=[_action(action) for action in push.actions],
            default_action=_tap(push),
        ),
        "notificationMethod": {"collapseId": sheet.marks.id, "operation": "INIT"},
    }
    return {
        **texts(push.data),
        **given(
            title=content.subject,
            body=content.text,
            channel_id=push.android_channel,
            image_url=push.image,
            icon_url=push.icon,
        ),
        "message_id": sheet.message,
        "u": _json({"sid": sheet.marks.sid}),
        "ems": _json(ems),
        "ems_msg": "{}",
    }


def _android_v2(sheet: Sheet) -> dict[str, str]:
    """Read since 3.7.0: keys with dots, and fewer texts within texts. `ems.version` marks it.

    channelId and trackingInfo: by these a device that has generation 4 already shows it and reports a tap.
    """
    content, push = sheet.content, sheet.push
    tap = _tap(push)
    named: Json = {
        "notification.title": content.subject,
        "notification.body": content.text,
        "notification.image": push.image,
        "notification.icon": push.icon,
        "notification.channel_id": push.android_channel,
        "notification.channelId": push.android_channel,
        "ems.style": push.android_style,
        "ems.multichannel_id": sheet.campaign,
        "ems.actions": _json([_action(action) for action in push.actions]) if push.actions else "",
        "ems.tap_actions.default_action.type": tap.get("type", ""),
        "ems.tap_actions.default_action.name": tap.get("name", ""),
        "ems.tap_actions.default_action.url": tap.get("url", ""),
        "ems.tap_actions.default_action.payload": _json(tap["payload"]) if tap.get("payload") else "",
        "ems.root_params": _json(push.data) if push.data else "",
    }
    return {
        **{name: value for name, value in named.items() if value},
        "ems.version": "FCM_V2",
        "ems.message_id": sheet.message,
        "ems.sid": sheet.marks.sid,
        "ems.trackingInfo": sheet.tracking,
        "ems.notification_method.collapse_key": sheet.marks.id,
        "ems.notification_method.operation": "INIT",
    }


def _action(action: Action) -> Json:
    """As SDKs check it: id, title and type are texts; url or name by the type."""
    return {"id": action.id, "title": action.title or action.id, **_deed(action)}


def _tap(push: PushContent) -> Json:
    """What a tap on the notification does beside opening the app; {}: nothing."""
    if push.tap is not None:
        return _deed(push.tap)
    return {"type": "OpenExternalUrl", "url": push.link} if push.link else {}


def _deed(action: Action) -> Json:
    if action.type == "OpenExternalUrl" and not action.url:
        return {"type": "Dismiss"}
    return {"type": action.type, **given(url=action.url, name=action.name, payload=action.payload)}


def _json(value: object) -> str:
    return encode_json(value).decode()
