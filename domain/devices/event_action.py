"""What a device event leads to, as an app's owner sets it: actions for the device, a message to its contact.

Owns what such a setting may be, so that each SDK can read the actions and the message can be sent. What is on the log
may be of before a bound: `assert_valid` holds for what is written, and who reads passes over what `message_of` and
`is_read_by_v5` refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from domain.errors import Invalid
from domain.message import TTL_S_MAX, URGENCIES, Content
from domain.notifications.push import assert_valid as assert_push
from domain.notifications.push import push_of
from domain.text.nearest import nearest
from domain.text.nesting import assert_shallow

NAME_MAX = 256
CAMPAIGN_MAX = 128
ACTIONS_MAX = 20
"""Of one event: devices carry them out one after another."""

_TEXTS_OF: dict[str, tuple[str, ...]] = {
    "MEAppEvent": ("name",),
    "MECustomEvent": ("name",),
    "OpenExternalUrl": ("url",),
    "BadgeCount": ("method",),
    "Dismiss": (),
    "copyToClipboard": ("text",),
    "RequestPushPermission": (),
}
"""Types of actions that an SDK carries out for an event, with the texts that each must have: the first three by all,
BadgeCount by iOS (EMSActionFactory.m at 3.10), the others by the multiplatform SDK (EventActionFactory.kt at 4.0.1).
Native SDKs pass over a type that they do not know.
"""
_NOT_OF_V5 = frozenset({"BadgeCount"})
"""To the multiplatform SDK an unknown type makes the whole answer unreadable: it sends its events thrice more, and
drops them.
"""
_WITH_PAYLOAD = frozenset({"MEAppEvent", "MECustomEvent"})
_MESSAGE_FIELDS = ("msg", "title", "opts")
_MEANT = (*_MESSAGE_FIELDS, "opts.ttl", "opts.urgency")
_TARGETS = (None, "_blank", "_top", "_parent", "_self")
_OWN_OF_SDK = ("source", "dismissId", "inAppType")
"""What the multiplatform SDK notes in its actions itself, in forms of its own."""


class EventAction(msgspec.Struct, frozen=True, kw_only=True):
    """What a device event leads to.

    event: its name. type: None for either. actions: carried out by the device (the answer's onEventAction).
    message: content (`msg`, `title`, ...) that is sent to whoever the client belongs to; {}: nothing is sent.
    """

    event: str
    type: Literal["custom", "internal"] | None = None
    campaign_id: str
    actions: tuple[dict[str, Any], ...] = ()
    message: dict[str, Any] = {}

    def assert_valid(self, field: str) -> None:
        """Raises Invalid, naming the field below this one."""
        self.assert_sound(field)
        _assert_fields(self.message, f"{field}.message")

    def assert_sound(self, field: str) -> None:
        """The same, but for fields of the message that nobody reads: it is sent all the same."""
        if not self.event or len(self.event) > NAME_MAX:
            raise Invalid(f"1 to {NAME_MAX} characters", field=f"{field}.event")
        if not 1 <= len(self.campaign_id) <= CAMPAIGN_MAX:
            raise Invalid(
                f"1 to {CAMPAIGN_MAX} characters: what devices name in their reports",
                field=f"{field}.campaign_id",
            )
        if not self.actions and not self.message:
            raise Invalid("it leads to nothing: give actions, a message or both", field=field)
        if len(self.actions) > ACTIONS_MAX:
            raise Invalid(f"at most {ACTIONS_MAX}", field=f"{field}.actions")
        for number, each in enumerate(self.actions):
            _assert_action(each, f"{field}.actions[{number}]")
        if self.message:
            message_of(self, field=f"{field}.message")


class EventMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An event action's message, as it is sent. None: as any other message of the app."""

    content: Content
    ttl_s: int | None = None
    urgency: int | None = None


def message_of(action: EventAction, *, field: str = "message") -> EventMessage:
    """In the words of the API: msg, title, opts, whose `ttl` and `urgency` decide how it is sent.

    Raises Invalid, naming the field, for one that nobody could be sent.
    """
    said = action.message
    assert_shallow(said, field=field)
    text, title, opts = said.get("msg"), said.get("title", ""), said.get("opts", {})
    if not isinstance(text, str) or not text:
        raise Invalid("a message says something", field=f"{field}.msg")
    if not isinstance(title, str):
        raise Invalid("a text", field=f"{field}.title")
    if not isinstance(opts, dict):
        raise Invalid("an object", field=f"{field}.opts")
    rest = {name: value for name, value in opts.items() if name not in {"ttl", "urgency"}}
    content = Content(text, title, rest)
    try:
        assert_push(push_of(content))
    except Invalid as wrong:
        raise Invalid(wrong.detail, field=f"{field}.{wrong.field}") from None
    ttl_s, urgency = opts.get("ttl"), opts.get("urgency")
    _assert_whole(ttl_s, range(TTL_S_MAX + 1), f"{field}.opts.ttl")
    _assert_whole(urgency, URGENCIES, f"{field}.opts.urgency")
    return EventMessage(content=content, ttl_s=ttl_s, urgency=urgency)


def is_read_by_v5(action: dict[str, Any]) -> bool:
    """Whether the multiplatform SDK can read an answer that has this action."""
    try:
        _assert_action(action, "")
    except Invalid:
        return False
    return action["type"] not in _NOT_OF_V5


def faults(actions: Iterable[EventAction]) -> Iterator[Invalid]:
    """The first fault, for which it is passed over, of each that has one, in order."""
    for number, each in enumerate(actions):
        try:
            each.assert_sound(f"event_actions[{number}]")
        except Invalid as fault:
            yield fault


def _assert_fields(message: dict[str, Any], field: str) -> None:
    """What is misspelt would be passed over without a word: a time to live, say."""
    for name in message:
        if name not in _MESSAGE_FIELDS:
            raise Invalid(f"there is no such field: {nearest(name, _MEANT)}", field=f"{field}.{name}")


def assert_carried_out(action: dict[str, Any], field: str) -> None:
    """Raises Invalid for what no SDK carries out: a type that none knows, or one without what it needs."""
    assert_shallow(action, field=field)
    type = action.get("type")
    if not isinstance(type, str) or type not in _TEXTS_OF:
        raise Invalid(
            f"an action says its type, which is one of {', '.join(_TEXTS_OF)}", field=f"{field}.type"
        )
    for name in _TEXTS_OF[type]:
        if not isinstance(action.get(name), str) or not action[name]:
            raise Invalid(f"{type} needs one, as a text", field=f"{field}.{name}")
    if type in _WITH_PAYLOAD and not isinstance(action.get("payload"), dict | None):
        raise Invalid("an object", field=f"{field}.payload")
    if type == "BadgeCount" and not _is_whole(action.get("value")):
        raise Invalid("a whole number", field=f"{field}.value")


def _assert_action(action: dict[str, Any], field: str) -> None:
    """One that every SDK can read an answer with, the multiplatform one, too."""
    assert_carried_out(action, field)
    type = action["type"]
    if not isinstance(action.get("reporting", ""), str):
        raise Invalid("a text", field=f"{field}.reporting")
    for name in _OWN_OF_SDK:
        if action.get(name) is not None:
            raise Invalid("the SDK's own to say", field=f"{field}.{name}")
    if type in _WITH_PAYLOAD:
        _assert_texts(action.get("payload") or {}, f"{field}.payload")
    if type == "OpenExternalUrl" and action.get("target") not in _TARGETS:
        raise Invalid(f"one of {_TARGETS[1:]}", field=f"{field}.target")


def _assert_texts(payload: dict[str, Any], field: str) -> None:
    """The multiplatform SDK reads no other values."""
    for name, value in payload.items():
        if not isinstance(value, str):
            raise Invalid("a text: SDKs read no other values", field=f"{field}.{name}")


def _assert_whole(value: Any, allowed: range, field: str) -> None:
    if value is not None and (not _is_whole(value) or value not in allowed):
        raise Invalid(f"a whole number, {allowed.start} to {allowed.stop - 1:,}", field=field)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
