"""Signals: what devices tell in great numbers, in batches. Nothing here decides consent or who belongs to whom.

    signal.events.<partition>.<client>        a batch of device events, kept
    signal.effects.<partition>.<client>       the same, with something in it that a process acts upon
    signal.interaction.<partition>.<client>   the calls that a client has made of late; where there is no app, the
                                              calls of a merchant's pages, under the merchant's id

Owns their form on the log. Ids on subjects are 32 hex digits. Signals are kept for a time, and what is read from
them ends with it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.ids import partition

EVENTS_KIND: Final = "events"
EFFECTS_KIND: Final = "effects"
INTERACTION_KIND: Final = "interaction"
SignalKind = Literal["events", "effects", "interaction"]

KEPT: Final = timedelta(days=90)
"""The stream forgets a signal after this, and what is read from signals is no longer shown then."""

AttributeMap = dict[str, str]


class DeviceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened in the app. at: by the device's clock. internal: named by the SDK, not by the app.

    session: the SDK's own id of it. tracking, reporting: what an on-event campaign gave the device to send back.
    """

    name: str
    at: datetime
    internal: bool = False
    attributes: AttributeMap = {}
    session: str = ""
    tracking: str = ""
    reporting: str = ""


class CampaignView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An in-app campaign was shown; with a button, that was pressed."""

    campaign: str
    at: datetime
    button: str = ""


Part = Literal["events", "clicks", "viewedMessages", "deviceEventState"]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An item that nobody can read. index: where it stood in its part of the request. item: its beginning, as text."""

    part: Part
    index: int
    reason: str
    item: str


class DeviceEvents(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request's items, in the order they came, without those refused.

    contact: whom the client belonged to, as far as it knew. app: by its code. dnd: the device wanted no in-app
    campaigns. state: what the device keeps for the exchange (deviceEventState), as it was sent; None: nothing was.
    """

    client: UUID
    contact: UUID | None = None
    app: str = ""
    events: tuple[DeviceEvent, ...] = ()
    clicks: tuple[CampaignView, ...] = ()
    viewed: tuple[CampaignView, ...] = ()
    refused: tuple[Refused, ...] = ()
    dnd: bool = False
    state: Any = None


class Interaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call and how it ended. call: method and route, never the path as it came. took_ms: until the answer.

    dropped: why nothing of what it told was kept, though the answer is a success; "" for all other calls. items: how
    many device events and the like that were. contact: whose call it was, where there is no app.
    """

    at: datetime
    call: str
    status: int
    took_ms: int = 0
    correlation: str = ""
    dropped: str = ""
    items: int = 0
    contact: UUID | None = None


class Interactions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls of one client, or of a merchant's where there is no app (app ""), in the order they ended."""

    client: UUID
    app: str = ""
    calls: tuple[Interaction, ...] = ()


Signal = DeviceEvents | Interactions


def signal_subject(kind: SignalKind, client: UUID) -> str:
    digits = client.int.to_bytes(16).hex()  # a format takes thrice as long
    return f"signal.{kind}.{partition(client)}.{digits}"
