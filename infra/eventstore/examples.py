"""One example of every topic, made from its type: for the event catalogue and for golden bytes.

The same types give the same example for ever. Nothing here is ever appended to a log.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from domain.aggregate import Created, Event
from domain.recorded import DeliveryRecord
from infra.eventstore.catalogue import EventType

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = UUID("1b4e28ba-2fa1-81d2-883f-0016d3cca427")

WORDS: Mapping[str, Any] = {
    "address": "device-token-1",
    "app": "shop-app",
    "channel": "apns",
    "client_id": "device-1",
    "code": "Unregistered",
    "command": "subscribe",
    "dispatch": f"{ID.hex}-0-1",
    "gateway": "gateway-1",
    "kind": "delivered",
    "lane": "live",
    "locale": "es-ES",
    "name": "Offers",
    "owner": "alice",
    "page": "0",
    "realm": "main",
    "sender": "alice",
    "subject": "News",
    "text": "The doors are open",
    "tid": "offers",
    "time_zone": "Europe/Madrid",
    "uid": "alice",
}
"""What a text field of this name says; others say their name."""


def example_event(known: EventType) -> Event:
    """An event of this type, its version and envelope as a first (or second) event's would be."""
    hints = get_type_hints(known.event)
    values = {field: _example(hints[field], field) for field in known.fields}
    if issubclass(known.event, Created):
        values["originator_topic"] = known.originator_topic
    version = 1 if issubclass(known.event, Created) else 2
    return known.event(originator_id=ID, originator_version=version, timestamp=AT, **values)


def example_record(record: type[DeliveryRecord]) -> DeliveryRecord:
    made: DeliveryRecord = _example(record, "")
    return made


def _example(type_: Any, field: str) -> Any:
    plain = _PLAIN.get(type_)
    if plain is not None:
        given = WORDS.get(field)
        return given if isinstance(given, type_) else field if type_ is str else plain
    origin, parameters = get_origin(type_), get_args(type_)
    if origin is Literal:
        return parameters[0]
    if origin in {Union, types.UnionType}:
        return _example(next(each for each in parameters if each is not type(None)), field)
    if origin in {tuple, list} or origin is Sequence:
        return _several(origin, parameters, field)
    if origin is dict:
        return {} if parameters[1] is Any else {"accepted": _example(parameters[1], field)}
    return _composed(type_, field)


def _several(origin: Any, parameters: tuple[Any, ...], field: str) -> Any:
    inner = [each for each in parameters if each is not Ellipsis]
    made = [_example(each, field.removesuffix("s")) for each in inner]
    return made if origin is list else tuple(made)


def _composed(type_: Any, field: str) -> Any:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        hints = get_type_hints(type_)
        return type_(**{name: _example(hints[name], name) for name in type_.__struct_fields__})
    if is_dataclass(type_) and isinstance(type_, type):
        hints = get_type_hints(type_)
        return type_(**{each.name: _example(hints[each.name], each.name) for each in fields(type_)})
    if type_ is Any:
        return field
    raise TypeError(f"no example for {field}: {type_}")


_PLAIN: Mapping[Any, Any] = {
    str: "",
    int: 1,
    float: 1.5,
    bool: False,
    bytes: b"sealed",
    UUID: ID,
    datetime: AT,
}
