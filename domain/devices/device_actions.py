"""What a device event leads to: who understands which of the SDKs' own events, and which of an app's settings match.

Owns the names of internal events. Pure; both the answer to the device and the processes behind it ask here, so that
they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from domain.app_settings import AppSettings
from domain.devices.event_action import EventAction
from domain.devices.signal import DeviceEvent

APP_START: Final = "app:start"
SESSION_START: Final = "session:start"
SESSION_END: Final = "session:end"
CLICKS: Final = frozenset({"push:click", "webpush:click"})
TAG_ADD: Final = "inbox:tag:add"
TAG_REMOVE: Final = "inbox:tag:remove"
TAGGING: Final = frozenset({TAG_ADD, TAG_REMOVE})
STARTS: Final = frozenset({APP_START, SESSION_START})

SID, MESSAGE_ID, TAG, DURATION = "sid", "messageId", "tag", "duration"
"""Attributes of these events."""
TAG_CHARS_MAX: Final = 64


def actions_for(settings: AppSettings, events: Iterable[DeviceEvent]) -> Iterator[tuple[int, EventAction]]:
    """The matching settings with the event's index, in the order of the events, then of the settings."""
    if not settings.event_actions:
        return
    named: dict[str, list[EventAction]] = {}
    for action in settings.event_actions:
        named.setdefault(action.event, []).append(action)
    for index, event in enumerate(events):
        for action in named.get(event.name, ()):
            if _is_of(action, event):
                yield index, action


def told_of(settings: AppSettings, events: Iterable[DeviceEvent]) -> list[EventAction]:
    """The matching settings that have actions for the device, in the same order, each once however often it matches."""
    matching = {id(action): action for _, action in actions_for(settings, events)}
    return [action for action in matching.values() if action.actions]


def has_effect(settings: AppSettings, events: Sequence[DeviceEvent]) -> bool:
    """Whether a process acts upon one of them."""
    # Hot path: asked of every batch; nearly all have neither.
    for event in events:
        if event.internal and clicked_sid(event):
            return True
    return bool(settings.event_actions) and any(action.message for _, action in actions_for(settings, events))


def clicked_sid(event: DeviceEvent) -> str:
    """The sid of a push that was opened; "" for any other event."""
    if not event.internal or event.name not in CLICKS:
        return ""
    return event.attributes.get(SID, "") or _tracked_sid(event.tracking)


def tagged(event: DeviceEvent) -> tuple[UUID, str, bool] | None:
    """The message, the tag, and whether the message has it from now on; None for any other event."""
    if not event.internal or event.name not in TAGGING:
        return None
    tag = event.attributes.get(TAG, "").strip().casefold()
    try:
        message = UUID(event.attributes.get(MESSAGE_ID, ""))
    except ValueError:
        return None
    return (message, tag, event.name == TAG_ADD) if 1 <= len(tag) <= TAG_CHARS_MAX else None


def _tracked_sid(tracking: str) -> str:
    """Generation 4 sends the push's trackingInfo back, which is JSON of ours."""
    try:
        found = msgspec.json.decode(tracking)
    except (msgspec.DecodeError, RecursionError):
        return ""
    sid = found.get(SID, "") if isinstance(found, dict) else ""
    return sid if isinstance(sid, str) else ""


def _is_of(action: EventAction, event: DeviceEvent) -> bool:
    return action.type is None or (action.type == "internal") == event.internal
