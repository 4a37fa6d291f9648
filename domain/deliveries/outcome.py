"""What one send came to. A gateway returns one outcome for each address and raises only for bugs."""

from __future__ import annotations

from datetime import datetime

import msgspec

FOUND = "found at Twilio"
"""Detail of an Accepted that was not sent again: the provider was asked, and has the earlier try."""


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The provider took it. Not yet delivered: that is a receipt."""

    provider_id: str = ""
    detail: str = ""


class Retry(msgspec.Struct, frozen=True, tag=True):
    """Not taken, but may be later. after_s: the provider's own wish, None: the policy decides."""

    code: str
    after_s: float | None = None
    detail: str = ""


class Gone(msgspec.Struct, frozen=True, tag=True):
    """The address is dead. since: the provider's invalidation time, None: now.

    confirm: quarantine first, and retire only when it repeats (FCM 404).
    """

    code: str
    since: datetime | None = None
    confirm: bool = False
    detail: str = ""


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The provider refuses this message; the address stays.

    quarantine: the address may belong to another environment or topic; alarm when frequent.
    """

    code: str
    quarantine: bool = False
    detail: str = ""


NO_APP = "app-switched-off"
"""Why an app's message was suppressed: it may not send any more, or there is none. It says nothing of the person."""


class Suppressed(msgspec.Struct, frozen=True, tag=True):
    """The person does not want it (unsubscribed, complained, opted out), or we have left it out (NO_APP, MOVED)."""

    code: str
    detail: str = ""


class Expired(msgspec.Struct, frozen=True, tag=True):
    """Its time to live ended before it could be handed over."""

    code: str = "ttl"
    detail: str = ""


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """It may have been sent: the answer was lost. Repeat only under the same collapse id."""

    code: str
    detail: str = ""


Outcome = Accepted | Retry | Gone | Rejected | Suppressed | Expired | Unknown

TERMINAL = (Accepted, Gone, Rejected, Suppressed, Expired)
"""Outcomes after which nothing more is sent for the delivery."""
