"""How a fact is shown: envelope and fields, with what is personal hidden unless asked for.

Owns what counts as personal on its way out: the sealed fields of events, and what dispatches carry under the key of
the day. Never prints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from domain.aggregate import ENVELOPE_FIELDS, Event
from domain.deliveries.delivery import Dispatch
from domain.devices.signal import DeviceEvents
from domain.recorded import Recorded
from processes.port import Poison

HIDDEN: Final = "(hidden)"
LINE_CHARS: Final = 160
"""A fact's fields on one line of a terminal; --json has all of them."""

ID_CHARS: Final = 32
"""An id in hex; numbers of a page and an attempt may follow it."""

Shown = dict[str, Any]


def shown(fact: Recorded | Poison, *, personal: bool) -> Shown:
    """A fact as a JSON object; personal: with what it says of people."""
    if isinstance(fact, Poison):
        return {
            "stream": fact.stream,
            "position": fact.position,
            "subject": fact.subject,
            "unreadable": fact.reason,
        }
    return {
        "stream": fact.stream,
        "position": fact.position,
        "topic": fact.topic,
        "time": time_text(fact.at),
        "realm": fact.realm,
        "subject": fact.subject,
        "actor": fact.actor,
        "causation": fact.causation,
        "correlation": fact.correlation,
        "data": fields(fact.body, personal=personal),
    }


def fields(body: Any, *, personal: bool) -> Shown:
    if isinstance(body, Event):
        own = {name: value for name, value in vars(body).items() if name not in ENVELOPE_FIELDS}
        hidden = set() if personal else set(body.SEALED)
    else:
        if isinstance(body, DeviceEvents) and not personal:
            body = _without_words(body)
        own = {name: getattr(body, name) for name in body.__struct_fields__}
        # Sealed in any case: the key of the day opens it for a gateway, never for a listing.
        hidden = {"sealed"} if isinstance(body, Dispatch) else set()
    shown = {
        name: HIDDEN if name in hidden and value else value
        for name, value in own.items()
        if name != "timestamp"
    }
    return {name: msgspec.to_builtins(value, enc_hook=str) for name, value in shown.items()}


def _without_words(batch: DeviceEvents) -> DeviceEvents:
    """What apps say in their events may be about people; that they happened is not."""
    events = tuple(
        replace(event, attributes=dict.fromkeys(event.attributes, HIDDEN)) for event in batch.events
    )
    refused = tuple(replace(item, item=HIDDEN) for item in batch.refused)
    return replace(batch, events=events, refused=refused, state=HIDDEN if batch.state is not None else None)


def line(fact: Shown) -> str:
    """One line for a terminal."""
    where = f"{fact['stream']}:{fact['position']}"
    if "unreadable" in fact:
        return f"{where:<16} {fact['subject']}  unreadable: {fact['unreadable']}"
    said = msgspec.json.encode(fact["data"]).decode()
    if len(said) > LINE_CHARS:
        said = said[: LINE_CHARS - 1] + "…"
    return f"{fact['time']}  {where:<16} {fact['topic']:<30} {_about(fact['subject'])}  {said}"


def _about(subject: str) -> str:
    """The id a subject names: of an aggregate, or of the message that a page, dispatch or outcome is part of."""
    tokens = subject.split(".")
    return next((token[:ID_CHARS] for token in tokens if len(token) >= ID_CHARS), tokens[-1])


def cloud_event(fact: Shown, epoch: str) -> Shown:
    """CloudEvents 1.0 in its JSON format. Its id names one fact for ever: a restored log has another epoch."""
    return {
        "specversion": "1.0",
        "id": f"{epoch}:{fact['stream']}:{fact['position']}",
        "source": f"/msgxc/{fact['realm']}",
        "type": fact["topic"],
        "subject": fact["subject"],
        "time": fact["time"],
        "datacontenttype": "application/json",
        # Extension "sequence" of the CloudEvents project: lexicographic order is order.
        "sequence": f"{fact['position']:020d}",
        "actor": fact["actor"],
        "correlationid": fact["correlation"],
        "causationid": fact["causation"],
        "data": fact["data"],
    }


def time_text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def block(fact: Shown) -> str:
    """All of a fact, over several lines."""
    head = line({**fact, "data": {}}).removesuffix("  {}")
    if "unreadable" in fact:
        return head
    about = " ".join(f"{name}={fact[name]}" for name in ("actor", "causation", "correlation") if fact[name])
    data = "\n".join(f"    {name}: {_value(value)}" for name, value in fact["data"].items())
    return "\n".join(part for part in (head, f"    by: {about}" if about else "", data) if part)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
