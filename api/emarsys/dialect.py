"""How the Emarsys contract reads requests and refuses: its statuses, and the two forms of its errors.

400: malformed, or no such app. 401: renew the token. 402: understood, and failed. 404, 413, 429 as ever. What a device
would send again in vain is always a 4xx, since it keeps what a 5xx answers at the head of its queue.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Any

import msgspec

from api.emarsys.identity.tokens import CONTACT_HEADER, STATE_HEADER
from api.emarsys.limits import DeviceLimitExceeded
from api.emarsys.mending import mended
from api.endpoint import decode_body, decode_query
from api.http.body import BodyTooSlow
from api.http.problem import MethodNotAllowed, Problem, problem_of
from api.route import Answer, Header
from domain.errors import Forbidden, Invalid, MsgxcError, NotFound, TooLarge, TooMany, Unauthenticated

V3_MEDIA_TYPE, V4_MEDIA_TYPE = "application/problem+json", "application/json"


class UnknownApp(Invalid):
    """A device that is told so tells its developer."""

    code, title, status = "unknown-app", "There is no such app", 400


class BadClientId(Invalid):
    code, title, status = "bad-client-id", "The client id is missing or malformed", 400


class BadMerchant(Invalid):
    code, title, status = "bad-merchant", "The merchant is missing or malformed", 400


class _Lax:
    """As devices are read, in either generation."""

    def status(self, kind: type[MsgxcError]) -> int:
        return status_of(kind)

    def body(self, kind: Any, content: bytes) -> Any:
        return decode_lax(kind, content)

    def query(self, kind: type[msgspec.Struct], query: bytes) -> Any:
        return decode_query(kind, query, is_exact=False)


class V3(_Lax):
    """Errors are problems (RFC 9457), so that W can read each as JSON."""

    failure, failure_type = Problem, V3_MEDIA_TYPE

    def refusal(self, error: MsgxcError) -> Answer:
        status = status_of(type(error))
        problem = msgspec.structs.replace(problem_of(error), status=status)
        return Answer(msgspec.json.encode(problem), status, media_type=V3_MEDIA_TYPE, headers=_headers(error))


class V4Detail(msgspec.Struct, frozen=True):
    code: str
    message: str


class V4Error(msgspec.Struct, frozen=True):
    """The SDK's parser wants every field. code: see CODES. target: the part of the request that is meant."""

    code: str
    message: str
    target: str
    details: tuple[V4Detail, ...]


class V4Failure(msgspec.Struct, frozen=True):
    error: V4Error


AFTER_TROUBLE: Header = (b"retry-after", b"10")
"""K asks five times more, each as long after as this says (ktor's HttpRequestRetry in GenericNetworkClient.kt, 4.0.1),
and then drops what it had to tell, a sign-in too: so a restart of the log may take most of a minute."""


class V4(_Lax):
    """Errors as K reads them."""

    failure, failure_type = V4Failure, V4_MEDIA_TYPE

    def refusal(self, error: MsgxcError) -> Answer:
        field = error.field or "request"
        target = _NAMED_IN_V4.get(field, field)
        said = error.detail if target == field else error.detail.replace(field, target)
        failure = V4Failure(V4Error(code_of(error), said, target, (V4Detail(error.code, said),)))
        return Answer(
            msgspec.json.encode(failure),
            status_of(type(error)),
            media_type=V4_MEDIA_TYPE,
            headers=(*_headers(error), *((AFTER_TROUBLE,) if error.status == 503 else ())),
        )


_NAMED_IN_V4 = {STATE_HEADER: "ec-client-state", CONTACT_HEADER: "ec-contact"}
"""Header fields that its contract calls otherwise."""

CODES: tuple[tuple[type[MsgxcError], str], ...] = (
    (UnknownApp, "1201"),
    (BadClientId, "1101"),
    (Unauthenticated, "1003"),
    (TooLarge, "1005"),
    (TooMany, "1006"),
    (NotFound, "1004"),
    (MethodNotAllowed, "1004"),
    (Invalid, "1001"),
    (BodyTooSlow, "1001"),
)
"""K registers anew for 1100-1199 and reads its configuration again for 1200-1299: no other error may be in there."""
FAILED, TROUBLE = "1002", "1000"


def code_of(error: MsgxcError) -> str:
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return FAILED if status_of(type(error)) < 500 else TROUBLE


def status_of(kind: type[MsgxcError]) -> int:
    """422 (a field is not valid) is 400 here; 409 (the state forbids it) is 402, and a lost race is 503: a device drops
    for good what a 4xx answers.
    """
    if issubclass(kind, Forbidden) or kind.status == 422:
        return 400
    if kind.status == 409:
        return 503 if kind.retryable else 402
    return kind.status


def _headers(error: MsgxcError) -> tuple[Header, ...]:
    if isinstance(error, DeviceLimitExceeded):
        return tuple(error.fields)
    # The rest of a body that is too large or too slow is not read: the connection cannot be used again.
    return ((b"connection", b"close"),) if isinstance(error, TooLarge | BodyTooSlow) else ()


@lru_cache(maxsize=64)  # as many as routes have bodies
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


def decode_lax(kind: Any, content: bytes) -> Any:
    """Numbers may come as texts, half a character is a question mark, and no body is an empty one.

    Raises Invalid, naming the field.
    """
    # Hot path: a decoder that is made once takes half the time.
    decoder = _decoder(kind)
    try:
        return decoder.decode(content or b"{}")
    except (ValueError, RecursionError):
        with contextlib.suppress(ValueError, RecursionError):
            content = mended(content)
        return decode_body(decoder, content)
