"""Push payloads as doppler's service worker reads them, with the links by which the browser reports what came of them.

Source: FromDoppler/doppler-push-api (`DopplerMessageService.SerializePayload`, `NotificationPayload`), and the service
worker that it is made for.
"""

from __future__ import annotations

from uuid import UUID

from gateways.styles.sheet import FcmForm, Json, Sheet, given


class Doppler:
    def apns(self, sheet: Sheet) -> Json:
        """A web domain has no Apple devices of its own; whatever registers as one is shown the text."""
        return {
            "aps": {"alert": given(title=sheet.content.subject, body=sheet.content.text)},
            "data": _data(sheet),
        }

    def fcm(self, sheet: Sheet) -> FcmForm:
        """For those who registered by a token of Firebase: shown by Firebase's own service worker.

        The links travel as data, for a page that reports itself.
        """
        content, push = sheet.content, sheet.push
        data = _data(sheet)
        texts = {name: value for name, value in data.items() if isinstance(value, str)}
        notification = given(title=content.subject, body=content.text, image=push.image)
        return FcmForm(texts, notification, link=push.opens)

    def web(self, sheet: Sheet) -> Json:
        push = sheet.push
        return {
            "title": sheet.content.subject,
            "body": sheet.content.text,
            "icon": push.icon or None,
            "image": push.image or None,
            "data": _data(sheet),
            "actions": [
                {"action": action.id, "title": action.title or action.id, "icon": action.icon or None}
                for action in push.actions
            ],
        }


def _data(sheet: Sheet) -> Json:
    push, marks = sheet.push, sheet.marks
    return {
        "messageId": _id(sheet.campaign),
        **given(
            clickLink=push.opens,
            clickedEventEndpoint=marks.clicked,
            receivedEventEndpoint=marks.received,
            actionEventEndpoints={
                action.id: link for action, link in zip(push.actions, marks.actions, strict=False) if link
            },
            actionClickLinks={action.id: action.url for action in push.actions if action.url},
        ),
    }


def _id(campaign: str) -> str:
    """A message's id as the API writes it; what a sender called it otherwise stays so."""
    try:
        return str(UUID(campaign))
    except ValueError:
        return campaign
