"""How an app's message looks as a notification: what a sender may say beside title and text, whatever SDK reads it.

Owns the key `push` of a message's opts. Knows no provider and no SDK: payload styles do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from domain.errors import Invalid
from domain.message import Content

KEY = "push"
"""Of a message's opts."""
ACTIONS_MAX = 3
"""Buttons of one notification: what iOS and Android show of Emarsys' messages, and more than browsers do."""
WORD_MAX = 256
URL_MAX = 2_048

ActionType = Literal["OpenExternalUrl", "MEAppEvent", "MECustomEvent", "Dismiss"]


class Action(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A button, or what a tap on the notification does (`id` and `title` are empty then).

    url: of OpenExternalUrl. name, payload: of the event that MEAppEvent and MECustomEvent hand to the app.
    icon: where the platform shows one.
    """

    id: str = ""
    title: str = ""
    type: ActionType = "OpenExternalUrl"
    url: str = ""
    name: str = ""
    payload: dict[str, str] = {}
    icon: str = ""


class PushContent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """image, icon: URLs. link: what a tap opens. tap: what it does, where that is more than to open the link.

    campaign: whose message it is, by the sender's own number; the message's id where the sender gives none.
    android_channel: the notification channel on the device. android_style: MESSAGE, THUMBNAIL, BIG_PICTURE or BIG_TEXT.
    treatments: handed back with a click, for experiments. data: handed to the app as it is.
    """

    image: str = ""
    icon: str = ""
    link: str = ""
    tap: Action | None = None
    actions: tuple[Action, ...] = ()
    campaign: str = ""
    android_channel: str = ""
    android_style: Literal["", "MESSAGE", "THUMBNAIL", "BIG_PICTURE", "BIG_TEXT"] = ""
    treatments: dict[str, Any] = {}
    data: dict[str, Any] = {}

    @property
    def opens(self) -> str:
        """What a tap opens in a browser, which can do nothing else: a tap's URL before the link; "": nothing."""
        tap = self.tap
        return tap.url if tap is not None and tap.type == "OpenExternalUrl" and tap.url else self.link


def push_of(content: Content) -> PushContent:
    """What the content says of its notification. Raises Invalid, naming the field."""
    given = content.opts.get(KEY, {})
    try:
        return msgspec.convert(given, PushContent)
    except msgspec.ValidationError as error:
        raise Invalid(f"opts.push: {error}", field="opts.push") from None


def opts_of(push: PushContent) -> Mapping[str, Any]:
    """A message's opts that say this."""
    return {KEY: msgspec.to_builtins(push)}


def assert_valid(push: PushContent) -> None:
    """Raises Invalid for what no device could show."""
    if len(push.actions) > ACTIONS_MAX:
        raise Invalid(f"a notification has at most {ACTIONS_MAX} actions", field="opts.push.actions")
    ids = [action.id for action in push.actions]
    if len(set(ids)) != len(ids) or not all(ids):
        raise Invalid("each action needs an id of its own", field="opts.push.actions")
    for action in (*push.actions, *((push.tap,) if push.tap else ())):
        _assert_action(action)
    for name in ("image", "icon", "link"):
        if len(getattr(push, name)) > URL_MAX:
            raise Invalid(f"a URL has at most {URL_MAX} characters", field=f"opts.push.{name}")


def _assert_action(action: Action) -> None:
    if max(len(action.id), len(action.title), len(action.name)) > WORD_MAX or len(action.url) > URL_MAX:
        raise Invalid(f"words have at most {WORD_MAX} characters, URLs {URL_MAX}", field="opts.push.actions")
    if action.type == "OpenExternalUrl" and not action.url and not action.id:
        raise Invalid("OpenExternalUrl needs a url", field="opts.push.tap")
    if action.type in {"MEAppEvent", "MECustomEvent"} and not action.name:
        raise Invalid(f"{action.type} needs a name", field="opts.push.actions")
