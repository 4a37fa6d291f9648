"""How doppler's clients write and want to be answered: names of fields in any case, 400 for what is not valid, plain
words or {error} as each endpoint has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from api.http.problem import Problem, decoding_error
from api.route import Answer
from domain.errors import Conflict, Forbidden, Invalid, MsgxcError, NotFound, TooLarge

QUERY_FIELDS_MAX = 1_000
"""Message ids of one grouped statistic, and a few more."""
_SPACE_BEFORE_ZONE = re.compile(r" (\d{2}:?\d{2})$")

Words = Callable[[str, MsgxcError], Any]


def as_text(detail: str, error: MsgxcError) -> bytes:
    return _named(detail, error).encode()


def as_error(detail: str, error: MsgxcError) -> dict[str, str]:
    return {"error": _named(detail, error)}


def _named(detail: str, error: MsgxcError) -> str:
    """With the contract's field that it is about, where the words do not say so."""
    field = error.field or ""
    is_known = re.split(r"[.\[]", field)[0].lower() in _SPELLING
    return f"{field}: {detail}" if is_known and field.lower() not in detail.lower() else detail


def as_problem(detail: str, error: MsgxcError) -> dict[str, Any]:
    """What ASP.NET says of a model that is not valid."""
    return {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "errors": {error.field or "": [detail]},
    }


_STATUSES: dict[type[MsgxcError], int] = {
    Invalid: 400,
    TooLarge: 400,
    Conflict: 400,
    NotFound: 404,
    Forbidden: 403,
}


class DopplerDialect:
    """api.route.Dialect. words: how refusals are worded. fields: as the contract spells them, for bodies."""

    failure, failure_type = Problem, "application/problem+json"

    def __init__(self, words: Words) -> None:
        self._words = words

    def body(self, kind: Any, content: bytes) -> Any:
        try:
            return msgspec.convert(_spelled(msgspec.json.decode(content)), kind)
        except msgspec.DecodeError as error:
            raise decoding_error(error, kind=kind) from None
        except (UnicodeDecodeError, RecursionError):
            raise Invalid("the body is not JSON in UTF-8 of a sensible depth", field="body") from None

    def query(self, kind: type[msgspec.Struct], query: bytes) -> Any:
        """A parameter that is given several times is a list where the type has one, else its last value."""
        names = {name.lower(): name for name in kind.__struct_encode_fields__}
        lists = {name for name in names.values() if name in getattr(kind, "LISTS", ())}
        given: dict[str, Any] = {}
        try:
            pairs = parse_qsl(query.decode("ascii"), max_num_fields=QUERY_FIELDS_MAX)
            for key, value in pairs:
                name = names.get(key.lower())
                if name in lists:
                    given.setdefault(name, []).append(value)
                elif name is not None:
                    given[name] = value
            return msgspec.convert(given, kind, strict=False)
        except msgspec.ValidationError as error:
            raise decoding_error(error, of="query", kind=kind) from None
        except ValueError:
            raise Invalid("the query cannot be read; percent-encode it", field="query") from None

    def status(self, kind: type[MsgxcError]) -> int:
        return _STATUSES.get(kind, kind.status)

    def refusal(self, error: MsgxcError) -> Answer | None:
        status = _STATUSES.get(type(error))
        if status is None or isinstance(error, Forbidden):
            return None
        said = error.detail.encode() if status == 404 else self._words(error.detail, error)
        media_type = "text/plain; charset=utf-8" if isinstance(said, bytes) else "application/json"
        return Answer(said, status=status, media_type=media_type)


TEXT, ERROR, PROBLEM = DopplerDialect(as_text), DopplerDialect(as_error), DopplerDialect(as_problem)

_NAMES = (
    "domain deviceToken email visitorGuid subscription endPoint keys p256DH auth message title body onClickLink "
    "imageUrl iconUrl preferLargeImage actions action icon link replacementIsMandatory fields visitorsFieldsList "
    "isPushFeatureEnabled usesExternalPushDomain externalPushDomain sentSuccess eventDate details messageId"
)
_SPELLING: Mapping[str, str] = {name.lower(): name for name in _NAMES.split()}


def _spelled(value: Any) -> Any:
    """The same with the contract's spelling of its names; what stands under `fields` is the caller's own."""
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, each in value.items():
        name = _SPELLING.get(key.lower(), key)
        found[name] = each if name == "fields" else _spelled(each)
    return found


def moment(text: str | None, field: str) -> datetime:
    """A time of a query; without a zone it is UTC. Raises Invalid."""
    if not text or not text.strip():
        raise Invalid(f"{field} is missing", field=field)
    try:
        at = datetime.fromisoformat(_SPACE_BEFORE_ZONE.sub(r"+\1", text.strip()))
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{field} is no time; write it as 2027-01-31T09:00:00Z", field=field) from None


def span(
    start: str | None, end: str | None, names: tuple[str, str] = ("from", "to")
) -> tuple[datetime, datetime]:
    """Raises Invalid when it ends before it begins, too."""
    first, last = moment(start, names[0]), moment(end, names[1])
    if first > last:
        raise Invalid(f"{names[0]} is after {names[1]}", field=names[0])
    return first, last


def whole(text: str | None, field: str, default: int, *, least: int, most: int) -> int:
    """Raises Invalid."""
    if text is None or not text.strip():
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text.strip()) or not least <= int(text) <= most:
        raise Invalid(f"{field} is a whole number from {least} to {most}", field=field)
    return int(text)
