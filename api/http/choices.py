"""What there is, for whoever sent something else: the values that a field takes, the fields that an object has."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[[^\]]*\]")
FIELDS = "fields"
"""In the `extra` of a free object's Meta: the names in it that mean something to us."""


def choices_at(kind: Any, path: str) -> tuple[str, ...]:
    """The values of an enumeration at a path such as `actions[0].type`; none where there is no such thing."""
    return tuple(dict.fromkeys(str(value) for each in _at(kind, path) for value in _values(each)))


def names_at(kind: Any, path: str) -> tuple[str, ...]:
    """The fields of an object at a path, and after them those one level down, as `opts.urgency`; none of a free one."""
    found = _at(kind, path)
    names = dict.fromkeys(name for each in found for name in _fields(each))
    below = [
        f"{name}.{further}"
        for name in names
        for each in found
        for inner in _below(each, name)
        for further in _fields(inner)
    ]
    return (*names, *dict.fromkeys(below))


def _at(kind: Any, path: str) -> list[inspect.Type]:
    found = [inspect.type_info(kind)]
    for step in _STEP.finditer(path):
        found = [below for each in found for below in _below(each, step["name"])]
    return found


def _fields(kind: inspect.Type) -> list[str]:
    match kind:
        case inspect.Metadata():
            return [*(kind.extra or {}).get(FIELDS, ()), *_fields(kind.type)]
        case inspect.UnionType():
            return [name for each in kind.types for name in _fields(each)]
        case inspect.StructType():
            return [field.encode_name for field in kind.fields]
        case _:
            return []


def _below(kind: inspect.Type, name: str | None) -> list[inspect.Type]:
    """What lies under a field's name, or, without one, in a list."""
    match kind:
        case inspect.Metadata():
            return _below(kind.type, name)
        case inspect.UnionType():
            return [below for each in kind.types for below in _below(each, name)]
        case inspect.StructType() if name is not None:
            return [field.type for field in kind.fields if field.encode_name == name]
        case inspect.DictType():  # msgspec writes every key of one as [...]
            return [kind.value_type]
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return [kind.item_type] if name is None else []
        case _:
            return []


def _values(kind: inspect.Type) -> tuple[Any, ...]:
    match kind:
        case inspect.Metadata():
            return _values(kind.type)
        case inspect.UnionType():
            return tuple(value for each in kind.types for value in _values(each))
        case inspect.LiteralType():
            return kind.values
        case inspect.EnumType():
            return tuple(member.value for member in kind.cls)
        case _:
            return ()
