"""Triggers: a device event that an app's settings answer with a message has that message sent.

Geofences come this way too: a fence's trigger has an action of type MECustomEvent, which makes the device report an
event of that name, and the app's `event_actions` say which message follows. Follows the signals that have an effect; a
message is made once for an event of a device, however often its signal is dealt with, and however often the device
tells it: one whose answer was lost sends the whole request again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from commands.bus import Bus
from commands.messaging import Draft, SendToApp
from commands.port import EventStore
from commands.scope import Claim
from domain.app_settings import AppSettings
from domain.client import Client
from domain.context import Context
from domain.devices.device_actions import actions_for
from domain.devices.event_action import EventAction, EventMessage, message_of
from domain.devices.signal import DeviceEvent, DeviceEvents
from domain.errors import Invalid, MsgxcError
from domain.recorded import SIGNALS
from processes.directories import AppDirectory
from processes.port import Log, Task
from processes.worker import Post, work

TRIGGERED = Post(SIGNALS, "triggers", ("signal.effects.>",), in_flight=16)

MESSAGES_MAX = 20
"""Of one signal: a device that joins weeks of events is not to be flooded when it is back."""


class Triggers:
    def __init__(self, *, log: Log, store: EventStore, bus: Bus, apps: AppDirectory) -> None:
        self._log, self._store, self._bus, self._apps = log, store, bus, apps

    async def run(self) -> None:
        await work(self._log, TRIGGERED, self.handle)

    async def handle(self, task: Task) -> None:
        """Raises what refused a message, when the others are made: the signal goes to TRIAGE and says why."""
        fact = task.fact
        signal = fact.body
        if not isinstance(signal, DeviceEvents) or signal.contact is None:
            return
        app = await self._apps.app(signal.app)
        if app is None or app.realm != fact.realm:
            return  # retired since
        occasions = _occasions(app.settings, signal.events)
        if occasions and not await self._is_theirs(signal.client, signal.contact):
            return
        context = Context(fact.realm, TRIGGERED.durable, f"{SIGNALS}:{fact.position}", fact.correlation)
        refused: MsgxcError | None = None
        for message, occasion in _sendable(occasions)[:MESSAGES_MAX]:
            command = SendToApp(
                app=app.code,
                draft=_draft(message),
                contacts=(signal.contact,),
                style=app.settings.push_style,
            )
            try:
                await self._bus.execute(command, context, claim=_claim(fact.realm, signal.client, occasion))
            except MsgxcError as error:
                if error.retryable:
                    raise
                refused = refused or error
        if refused is not None:
            raise refused

    async def _is_theirs(self, client: UUID, contact: UUID) -> bool:
        """Whether the client is still the contact's: what a device held before somebody signed out is good for ever,
        and must not have that person written to.
        """
        found = await self._store.load(Client, client, fresh=True)
        return found is not None and found.contact == contact


class Occasion(msgspec.Struct, frozen=True):
    """What a message is for. number: of the settings that name the same campaign for the event."""

    campaign: str
    number: int
    event: DeviceEvent


def _occasions(settings: AppSettings, events: Sequence[DeviceEvent]) -> list[tuple[EventAction, Occasion]]:
    """Each action once for a signal, in the order they first came up: joined repeats of an event are one occasion, the
    last of them.

    A request that is sent again has the same events, and then perhaps newer ones: its last is another only if there was
    another one since.
    """
    found: dict[int, tuple[EventAction, DeviceEvent]] = {}
    for index, action in actions_for(settings, events):
        if action.message:
            found[id(action)] = action, events[index]
    numbers: Counter[str] = Counter()
    made = []
    for action, event in found.values():
        made.append((action, Occasion(action.campaign_id, numbers[action.campaign_id], event)))
        numbers[action.campaign_id] += 1
    return made


def _sendable(occasions: Iterable[tuple[EventAction, Occasion]]) -> list[tuple[EventMessage, Occasion]]:
    """Those whose message can be sent. Others are of settings from before such were refused; whoever looks the app up
    says so (infra.apps), once and not for each signal.
    """
    found = []
    for action, occasion in occasions:
        with contextlib.suppress(Invalid):
            found.append((message_of(action), occasion))
    return found


def _draft(message: EventMessage) -> Draft:
    content = message.content
    return Draft(
        text=content.text,
        subject=content.subject,
        opts=content.opts,
        ttl_s=message.ttl_s,
        urgency=message.urgency,
    )


def _claim(realm: str, client: UUID, occasion: Occasion) -> Claim:
    """Of the client's own event: what the settings say by the time of a repeat changes nothing any more.

    Two events of one device differ in their times, sessions or attributes; the same one again differs in nothing.
    """
    told = msgspec.json.encode((client, occasion), order="sorted")
    digest = hashlib.sha256(told).hexdigest()
    return Claim(f"{realm}|{TRIGGERED.durable}|event||{digest}", digest, route="event")
