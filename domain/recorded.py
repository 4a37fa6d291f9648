"""A fact as it is read back from the log: the envelope, and the event or delivery record inside."""

from __future__ import annotations

from datetime import datetime

import msgspec

from domain.aggregate import Event
from domain.deliveries.delivery import Attempt, AudiencePage, Dispatch, OutcomeSlice, Receipt
from domain.devices.signal import Signal
from domain.shop import ShopMessage

EVENTS, DELIVERY, FEED, SIGNALS, SCHEDULES, SHOPS, STATES, TRIAGE = (
    "EVENTS",
    "DELIVERY",
    "FEED",
    "SIGNALS",
    "SCHEDULES",
    "SHOPS",
    "STATES",
    "TRIAGE",
)
"""The streams. A position counts within one of them."""

LOOSE = frozenset({SHOPS})
"""Streams whose facts do not build on one another: one that can't be read holds none of the later ones up."""

DeliveryRecord = AudiencePage | Dispatch | Attempt | OutcomeSlice | Receipt


def kind_of(topic: str) -> str:
    """A topic without its version: "message.accepted" of "message.accepted.v2"."""
    return topic.rpartition(".v")[0]


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a stream. `position` with the log's epoch is the only clock that decides order.

    at: the accepting process's time. digest: hex SHA-256 over subject, our headers and body; "" where it was not asked
    for.
    """

    stream: str
    position: int
    subject: str
    topic: str
    realm: str
    actor: str = ""
    causation: str = ""
    correlation: str = ""
    at: datetime
    digest: str = ""
    body: Event | DeliveryRecord | ShopMessage | Signal


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a reader of a stream stands. digest: of the fact at that position ("" at position 0)."""

    stream: str
    position: int
    epoch: str
    digest: str = ""
