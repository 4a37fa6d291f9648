"""A value that is none of a field's: the refusal says which there are."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
import pytest

from api.endpoint import decode_body
from api.http.choices import choices_at
from domain.errors import Invalid


class Colour(enum.Enum):
    RED, BLUE = "red", "blue"


class Shape(msgspec.Struct):
    kind: Literal["round", "square"]
    colours: Annotated[list[Colour], msgspec.Meta(max_length=3)] = []
    inner: Shape | None = None
    named: dict[str, Literal[1, 2]] = {}
    size: int = 0


DECODER = msgspec.json.Decoder(Shape)


@pytest.mark.parametrize(
    ("body", "field", "choices"),
    [
        (b'{"kind":"flat"}', "kind", "round, square"),
        (b'{"kind":"round","colours":["red","green"]}', "colours[1]", "red, blue"),
        (b'{"kind":"round","inner":{"kind":"flat"}}', "inner.kind", "round, square"),
        (b'{"kind":"round","named":{"a":3}}', "named[...]", "1, 2"),
    ],
)
def test_a_refusal_says_which_values_there_are(body: bytes, field: str, choices: str) -> None:
    """Wherever the field is: in an object, a list, an optional one."""
    with pytest.raises(Invalid, match=f"expected one of {choices}") as refused:
        decode_body(DECODER, body)
    assert refused.value.field == field


def test_other_fields_have_no_choices() -> None:
    """Nor have those that there are not."""
    assert choices_at(Shape, "size") == choices_at(Shape, "nothing.here") == choices_at(Shape, "") == ()
