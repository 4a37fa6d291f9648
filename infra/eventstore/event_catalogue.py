"""The event catalogue for people: every topic, what it says and its fields, as Markdown. Made from the types alone."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from domain.aggregate import Event
from domain.recorded import kind_of
from infra.eventstore.catalogue import (
    DELIVERY_TOPICS,
    FORMER_DELIVERY_TOPICS,
    SIGNAL_TOPICS,
    Catalogue,
    EventType,
    domain_catalogue,
)
from infra.eventstore.event_words import FIELDS, OF_TOPIC, SAYS

_HEAD = """# Events

Made from the types by `make schema`; a test sees that it is what they say. Each topic's JSON Schema, with an example,
is in [`schema/events`](../schema/events); subjects and sockets are in
[`schema/asyncapi.json`](../schema/asyncapi.json).

An event on EVENTS has the subject `evt.<aggregate>.<partition>.<id>` and an envelope in its headers: topic, version of
the aggregate, realm, actor, causation, correlation, time, the hash of the event before it, and, where fields are
sealed, the name of the key. **Sealed** fields are encrypted under the contact's key (a client's own until it is linked,
a thread's for confidential content), and read as nothing once that key is destroyed. A published event never changes:
what has changed is another version, and former ones are read as the newest.
"""

_PLAIN: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "yes or no",
    bytes: "bytes",
    UUID: "id",
    datetime: "time",
    Any: "anything",
}


def catalogue_text(catalogue: Catalogue | None = None) -> str:
    known = catalogue or domain_catalogue()
    return "\n".join([_HEAD, *_of_aggregates(known), *_of_records()]).rstrip() + "\n"


def says(topic: str, type_: type) -> str:
    """What a topic tells, in a sentence or more."""
    doc = type_.__doc__ or ""
    generated = doc.startswith(f"{type_.__name__}(") or "(*" in doc
    more = "" if generated else " ".join(doc.split())
    return f"{SAYS.get(kind_of(topic), '')} {more}".strip()


def means(topic: str, field: str) -> str:
    kind = kind_of(topic)
    return OF_TOPIC.get((kind, field)) or FIELDS.get(field, "")


def _of_aggregates(known: Catalogue) -> Iterator[str]:
    for aggregate in sorted(known.aggregates):
        topics = [topic for topic in sorted(known.types) if topic.startswith(f"{aggregate}.")]
        yield f"## {aggregate}\n\nSubjects `evt.{aggregate}.<partition>.<id>`.\n"
        for topic in topics:
            yield _of_event(known, known.types[topic])


def _of_event(known: Catalogue, event_type: EventType) -> str:
    topic, hints = event_type.topic, get_type_hints(event_type.event)
    rows = [
        (field, hints[field], means(topic, field), field in event_type.sealed_types)
        for field in event_type.fields
    ]
    former = [
        f"`{old}` ({_lacks(upcast)})"
        for old, upcast in sorted(known.upcasts.items())
        if kind_of(old) == kind_of(topic)
    ]
    return _section(topic, event_type.event, rows, former)


def _lacks(upcast: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]) -> str:
    """What bodies of a former topic did not say: the fields that its upcaster adds."""
    added = [f"`{field}`" for field in upcast({})[1]]
    return f"without {', '.join(added)}" if added else "its settings said less"


def _of_records() -> Iterator[str]:
    yield "## Deliveries\n\nOn DELIVERY: the life of every delivery, in pages.\n"
    for topic, record in DELIVERY_TOPICS.items():
        former = [f"`{old}`" for old in FORMER_DELIVERY_TOPICS if kind_of(old) == kind_of(topic)]
        yield _of_record(topic, record, former)
    yield "## Signals\n\nOn SIGNALS: what devices tell in great numbers; nothing that decides on consent or links.\n"
    for topic, signal in SIGNAL_TOPICS.items():
        yield _of_record(topic, signal, [])


def _of_record(topic: str, record: type, former: list[str]) -> str:
    hints = get_type_hints(record)
    fields: tuple[str, ...] = record.__struct_fields__  # type: ignore[attr-defined]
    rows = [(field, hints[field], means(topic, field), field == "sealed") for field in fields]
    return _section(topic, record, rows, former)


def _section(
    topic: str, type_: type[Event] | type, rows: list[tuple[str, Any, str, bool]], former: list[str]
) -> str:
    lines = [f"### `{topic}`\n", says(topic, type_), ""]
    if rows:
        lines += ["| field | type | what |", "|---|---|---|"]
        lines += [
            f"| `{field}` | {_in_words(kind)} | {what}{'; **sealed**' if sealed else ''} |"
            for field, kind, what, sealed in rows
        ]
        lines.append("")
    if former:
        lines += [f"Former: {'; '.join(former)}.", ""]
    return "\n".join(lines)


def _in_words(kind: Any) -> str:
    """A type as people read it."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, parameters = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in parameters)
    if origin in (Union, types.UnionType):
        some = [_in_words(each) for each in parameters if each is not type(None)]
        return " or ".join([*some, "none"] if type(None) in parameters else some)
    if origin in (tuple, list):
        return f"list of: {_in_words(parameters[0])}"
    if origin is dict:
        return "object"
    return str(kind.__name__)
