"""What NATS answers, in our words; translated once, here at the edge."""

from __future__ import annotations

import msgspec

from domain.errors import Unavailable

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""The expected last sequence of a subject is another: somebody appended first."""

BATCH_INCOMPLETE = frozenset({10176, 10199})
"""The server has dropped the batch (a part was lost, or too many were begun): nothing stored, try again."""

NOT_SERVING = frozenset({10008, 10009, 10076, 10118})
"""No leader at the moment, or JetStream has not started yet."""

NOT_FOUND = frozenset({10037, 10059, 10014})
"""No message, no stream, no consumer."""


class ApiFailure(msgspec.Struct, frozen=True):
    """The `error` of a JetStream answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Refused(Unavailable):
    """JetStream answered with an error: nothing was stored."""

    def __init__(self, failure: ApiFailure) -> None:
        super().__init__(f"the log refused: {failure.description} ({failure.err_code})")
        self.failure = failure


class WrongSequence(Refused):
    """Expected last sequence not met: nothing was stored."""


class Incomplete(Refused):
    """The server dropped a batch: nothing was stored."""


class NotServing(Refused):
    """No leader at the moment, or JetStream is starting: nothing was stored, soon it may be."""


class Denied(Unavailable):
    """The server does not let us in: wrong token or credentials."""

    retryable = False


class Disconnected(Unavailable):
    """No connection, and nothing was sent."""


class NoAnswer(Unavailable):
    """Sent, and no answer came in time, or the connection broke meanwhile: it may have happened or not."""


def refusal(failure: ApiFailure) -> Refused:
    if failure.err_code in WRONG_LAST_SEQUENCE:
        return WrongSequence(failure)
    if failure.err_code in BATCH_INCOMPLETE:
        return Incomplete(failure)
    if failure.err_code in NOT_SERVING:
        return NotServing(failure)
    return Refused(failure)
