"""Failures as RFC 9457 problems: every error a caller sees, the unexpected ones included, has this form.

Owns the form alone; what went wrong, its code and its status belong to domain.errors. Never shows an exception's
own text unless it was written for callers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from api.http.choices import choices_at, names_at
from domain.errors import Invalid, MsgxcError, TooMany, Unauthenticated
from domain.text.nearest import nearest

MEDIA_TYPE = b"application/problem+json"
TYPE_BASE = "/docs/errors#"
"""A problem's type is a page of our own: it resolves wherever the exchange runs (RFC 9457, section 3.1.1)."""

Header = tuple[bytes, bytes]


class MethodNotAllowed(MsgxcError):
    """allow: the methods that the path has."""

    code, title, status = "method-not-allowed", "The path has no such method", 405

    def __init__(self, allow: Iterable[str]) -> None:
        self.allow = ", ".join(allow)
        super().__init__(f"use {self.allow}")


class BadPath(MsgxcError):
    code, title, status = "bad-path", "The path cannot be read", 400


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """field: which part of the request is meant. retryable: whether the same call may succeed later."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str = ""
    field: str = ""
    request_id: str = ""
    retryable: bool = False


def problem_of(error: MsgxcError, *, instance: str = "", request_id: str = "") -> Problem:
    return Problem(
        type=TYPE_BASE + error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        instance=instance,
        field=error.field or "",
        request_id=request_id,
        retryable=error.retryable,
    )


def headers_of(error: MsgxcError) -> list[Header]:
    """The header fields that HTTP asks for beside such a status."""
    match error:
        case Unauthenticated():
            return [(b"www-authenticate", b'Bearer realm="msgxc", error="invalid_token"')]
        case TooMany():
            return [(b"retry-after", str(error.retry_after_s).encode())]
        case _ if error.status == 415:
            return [(b"accept-encoding", b"identity")]
        case MethodNotAllowed():
            return [(b"allow", error.allow.encode())]
        case _ if error.status == 503:
            return [(b"retry-after", b"1")]
        case _:
            return []


def every_error() -> list[type[MsgxcError]]:
    """All errors there are, by status, for the documents."""
    found: list[type[MsgxcError]] = [MsgxcError]
    for error in found:
        found.extend(error.__subclasses__())
    return sorted(dict.fromkeys(found), key=lambda error: (error.status, error.code))


_AT = re.compile(r" - at `\$(?P<path>.*)`$")
_SIZE = re.compile(r"Expected `(?P<kind>str|array)` of length (?P<bound>>=|<=) (?P<count>\d+)")
NAME_SHOWN_MAX = 100
"""Characters of a field's name that a caller made up."""
_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "uuid": "a UUID",
    "datetime": "a time",
}
_TYPES = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)


def decoding_error(
    error: msgspec.DecodeError | msgspec.ValidationError, *, of: str = "body", kind: Any = None
) -> Invalid:
    """What msgspec says, as a sentence that names the field and what would be right. kind: the type that it is not."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Invalid(f"the {of} is not JSON: {text}", field=of)
    path, sentence = "", text
    if found := _AT.search(text):
        path, sentence = found["path"].removeprefix("."), text[: found.start()]
    if missing := _MISSING.fullmatch(sentence):
        path = f"{path}.{missing['field']}".removeprefix(".")
        sentence = f"{path} is missing"
    elif unknown := _UNKNOWN.fullmatch(sentence):
        name = unknown["field"][:NAME_SHOWN_MAX]
        sentence = f"there is no such field: {nearest(name, names_at(kind, path))}"
        path = f"{path}.{name}".removeprefix(".")
        return Invalid(sentence, field=path)
    elif sentence.startswith("Invalid enum value") and (choices := choices_at(kind, path)):
        sentence = f"expected one of {', '.join(choices)}"
    return Invalid(_plain(sentence), field=path or of)


def _plain(sentence: str) -> str:
    """What msgspec says, in the words of somebody who writes JSON."""
    if sentence == "Invalid RFC3339 encoded datetime":
        return "write a time as ISO 8601 with a zone, such as 2027-01-31T09:00:00Z"
    if size := _SIZE.fullmatch(sentence):
        bound = "at least" if size["bound"] == ">=" else "at most"
        things = "character" if size["kind"] == "str" else "item"
        return f"expected {bound} {size['count']} {things}{'' if size['count'] == '1' else 's'}"
    said = _TYPES.sub(_in_words, sentence)
    return said[0].lower() + said[1:]


def _in_words(found: re.Match[str]) -> str:
    """`bool | null`: true, false or null."""
    kinds = found[1].split(" | ")
    if "float" in kinds and "int" in kinds:
        kinds.remove("int")
    words = ", ".join(_KINDS.get(kind, kind) for kind in kinds)
    *some, last = words.replace(" or ", ", ").split(", ")
    return f"{', '.join(some)} or {last}" if some else last
