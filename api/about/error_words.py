"""What each error means and what to do about it, in words for callers: the page /docs/errors shows them.

Owns the words alone, by the errors' codes; codes and statuses are the errors' own. docs/errors.md says the same (a test
holds them together).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """`Backticks` are code."""

    meaning: str
    advice: str


WORDS: Final[dict[str, Words]] = {
    "invalid": Words(
        "A field says something that can't be.",
        "Mend `field`.",
    ),
    "unknown-app": Words(
        "The path names an app that there is not.",
        "Check the app's code.",
    ),
    "bad-client-id": Words(
        "A device's call without its client id, or with a malformed one.",
        "Send it as `X-Client-Id`, or `ec-client-id`.",
    ),
    "bad-merchant": Words(
        "An appless call without the merchant, or with a malformed one.",
        "Send it as `X-Merchant-Id`.",
    ),
    "bad-path": Words(
        "A part of the path is not percent-encoded UTF-8.",
        "Encode names in paths as UTF-8.",
    ),
    "malformed": Words(
        "What came is not HTTP/1.1, or its method is none that we know. The connection is closed.",
        "Mend the client.",
    ),
    "field-twice": Words(
        "Two `Authorization` or two `Idempotency-Key`: nobody can say which is meant.",
        "Send one; look at the proxies on the way.",
    ),
    "refresh-refused": Words(
        "A refresh token that was superseded, ended or never ours.",
        "Sign in anew; don't send it again.",
    ),
    "unauthenticated": Words(
        "No token, or one that proves nothing.",
        "Get a token; `detail` says what is wrong with this one.",
    ),
    "token-forged": Words(
        "A client state or contact token that isn't ours, or not as we wrote it.",
        "Refresh the contact token; register anew.",
    ),
    "token-key-unknown": Words(
        "Its signing key was removed after a rotation.",
        "The same.",
    ),
    "token-expired": Words(
        "A contact token is past its `exp`.",
        "Refresh it.",
    ),
    "token-foreign": Words(
        "A good token of another app, client or merchant.",
        "Send the one that belongs to this call.",
    ),
    "forbidden": Words(
        "We know who you are, and you may not.",
        "Ask the thread's owner, or an admin.",
    ),
    "not-found": Words(
        "No such thing, or none that you may know of.",
        "Check the id.",
    ),
    "method-not-allowed": Words(
        "The path has other methods.",
        "See the `Allow` header.",
    ),
    "head-too-slow": Words(
        "The head of a request did not come within 30 s. The connection is closed.",
        "Send it again.",
    ),
    "body-too-slow": Words(
        "The body did not come within 20 s; a large one has up to 64 s. The connection is closed.",
        "Send it again.",
    ),
    "conflict": Words(
        "The state of the thing forbids it.",
        "`detail` says which state.",
    ),
    "version-conflict": Words(
        "Others changed the same thing again and again while we tried. Nothing was stored.",
        "Send it again.",
    ),
    "too-large": Words(
        "The body, or a channel's payload, is over its limit.",
        "Shorten it; `detail` names the limit.",
    ),
    "unsupported-encoding": Words(
        "A body with a `Content-Encoding`.",
        "Send it as it is.",
    ),
    "idempotency-mismatch": Words(
        "This `Idempotency-Key` was used with other parameters.",
        "Use a new key for a new request.",
    ),
    "too-many": Words(
        "Over the rate limit.",
        "Wait `Retry-After` seconds.",
    ),
    "head-too-large": Words(
        "Address and header fields are over 64 KiB. The connection is closed.",
        "Send fewer or shorter fields.",
    ),
    "internal": Words(
        "A fault of ours.",
        "Tell us, with the `request_id`.",
    ),
    "broken-chain": Words(
        "An aggregate's events don't follow one another: the log was damaged. Nothing is decided on it.",
        "Operators: see `msgxc doctor`.",
    ),
    "not-implemented": Words(
        "The original never did this either.",
        "Use the REST call of this name.",
    ),
    "unavailable": Words(
        "A part we depend on doesn't answer. Nothing was changed.",
        "Send it again.",
    ),
    "outcome-unknown": Words(
        "The log didn't answer, and couldn't be asked again: the change may or may not be there.",
        "Send it again with the same `Idempotency-Key`.",
    ),
}
