"""Everything that can go wrong and be told to a caller.

    MsgxcError
    ├── Invalid            422  a field says something that cannot be; names the field
    ├── Unauthenticated    401  no token, or one that proves nothing
    ├── Forbidden          403  known caller, not allowed
    ├── NotFound           404  no such thing, or none this caller may see
    ├── Conflict           409  the state of the thing forbids it
    ├── ClaimMismatch      422  an idempotency key used again with other parameters
    ├── TooLarge           413  over a stated limit
    ├── TooMany            429  over a stated rate; says when to come back
    └── Unavailable        503  a part we depend on does not answer; nothing was changed
        └── OutcomeUnknown 503  the log did not answer; the change may or may not be there

Each error owns its code (stable, documented in docs/errors.md), its HTTP status and whether the
same call may succeed later.
"""

from __future__ import annotations

from typing import ClassVar


class MsgxcError(Exception):
    """Base of all errors a caller may see. `detail` is a sentence for people."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class Invalid(MsgxcError):
    code, title, status = "invalid", "A field is not valid", 422


class Unauthenticated(MsgxcError):
    code, title, status = "unauthenticated", "A valid token is needed", 401


class Forbidden(MsgxcError):
    code, title, status = "forbidden", "Not allowed", 403


class NotFound(MsgxcError):
    code, title, status = "not-found", "Not found", 404


class Conflict(MsgxcError):
    code, title, status = "conflict", "The state forbids it", 409


class ClaimMismatch(MsgxcError):
    code, title, status = "idempotency-mismatch", "Idempotency key used with other parameters", 422


class TooLarge(MsgxcError):
    code, title, status = "too-large", "Too large", 413


class TooMany(MsgxcError):
    """Over a rate limit. `retry_after_s`: whole seconds until the next call may pass."""

    code, title, status, retryable = "too-many", "Too many requests", 429, True

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(MsgxcError):
    code, title, status, retryable = "unavailable", "Temporarily unavailable", 503, True


class OutcomeUnknown(Unavailable):
    code, title = "outcome-unknown", "The outcome is not known"
