"""What a payload style is given, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from domain.message import Content
from domain.notifications.push import PushContent
from gateways.port import AppSender
from gateways.rendering import encode_json

Json = dict[str, Any]


class Marks(msgspec.Struct, frozen=True):
    """What differs from one recipient to the next, all in letters that JSON leaves as they are.

    sid: what a click is reported with. id: the same message to the same client; what a repeat replaces.
    clicked, received, actions (one for each of the content's): where the browser reports to; "": nowhere.
    """

    sid: str
    id: str
    clicked: str = ""
    received: str = ""
    actions: tuple[str, ...] = ()


class Sheet(msgspec.Struct, frozen=True):
    """One message of an app to one client. message: its id, as the API and inboxes write it: apps compare them."""

    message: str
    app: AppSender
    content: Content
    push: PushContent
    marks: Marks

    @property
    def campaign(self) -> str:
        return self.push.campaign or self.message

    @property
    def tracking(self) -> str:
        """What generation 4 hands back with a click, unread."""
        return encode_json({"sid": self.marks.sid, **given(treatments=self.push.treatments)}).decode()


class FcmForm(msgspec.Struct, frozen=True):
    """data: text to text, as FCM wants it. notification: shown by the system itself, None: the app's SDK shows it.

    link: what a click on it opens in a browser.
    """

    data: Mapping[str, str]
    notification: Mapping[str, str] | None = None
    link: str = ""


class Style(Protocol):
    def apns(self, sheet: Sheet) -> Json:
        """The whole payload."""
        ...

    def fcm(self, sheet: Sheet) -> FcmForm: ...

    def web(self, sheet: Sheet) -> Json:
        """What the service worker gets."""
        ...


def given(**values: Any) -> Json:
    """Those that say something: SDKs take an empty text for a value."""
    return {name: value for name, value in values.items() if value not in ("", None, {}, [], ())}


def texts(data: Json) -> dict[str, str]:
    """As FCM's data: what is no text, as JSON."""
    return {
        key: value if isinstance(value, str) else encode_json(value).decode() for key, value in data.items()
    }
