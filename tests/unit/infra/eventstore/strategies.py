"""Any event of any topic, as hypothesis finds it, made from the types."""

import types
from datetime import UTC, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from domain.aggregate import Created, Event
from infra.eventstore.catalogue import EventType

times = st.datetimes(timezones=st.just(UTC))
numbers = st.integers(min_value=-(2**53), max_value=2**53)
texts = st.text(st.characters(codec="utf-8"), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: numbers,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bytes: st.binary(max_size=40),
    UUID: st.uuids(),
    type(None): st.none(),
    Any: json_values,
}


def values(type_: Any) -> st.SearchStrategy[Any]:
    origin, parameters = get_origin(type_), get_args(type_)
    if type_ is datetime:
        return times
    if type_ in PLAIN:
        return PLAIN[type_]
    if origin is Literal:
        return st.sampled_from(parameters)
    if origin in {Union, types.UnionType}:
        return st.one_of([values(each) for each in parameters])
    if origin is tuple:
        return st.lists(values(parameters[0]), max_size=4).map(tuple)
    if origin is dict:
        return st.dictionaries(values(parameters[0]), values(parameters[1]), max_size=4)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        hints = get_type_hints(type_)
        return st.builds(type_, **{name: values(hints[name]) for name in type_.__struct_fields__})
    raise TypeError(f"no strategy for {type_}")


def events(known: EventType) -> st.SearchStrategy[Event]:
    hints = get_type_hints(known.event)
    fields = {name: values(hints[name]) for name in known.fields}
    if issubclass(known.event, Created):
        fields["originator_topic"] = st.just(known.originator_topic)
    return st.builds(
        known.event,
        originator_id=st.uuids(),
        originator_version=st.integers(1, 10**6),
        timestamp=times,
        **fields,
    )
