"""When an address that a device tells again is recorded, and what a provider's word about it is worth meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta

RENEWED_EVERY = timedelta(minutes=10)
"""An address that is told again is an event that often at most: some SDKs tell theirs at each start of the app, or each
time it comes to the front, and the log keeps events for ever.
"""


def is_recorded(at: datetime, *, renewed_at: datetime | None) -> bool:
    """Whether a renewal at a time is an event. renewed_at: of the last one since the address was set.

    The first always is: a provider may just have found the address dead.
    """
    return renewed_at is None or at - renewed_at >= RENEWED_EVERY


def is_believed(
    since: datetime, *, tried_at: datetime, told_at: datetime, renewed_at: datetime | None
) -> bool:
    """Whether an address is dead of which a provider said so, with its time, in answer to a try at `tried_at`.

    Not if the device has told it later, nor if it may have, in a renewal that is no event: then the next try decides.
    """
    return told_at <= since and is_recorded(tried_at, renewed_at=renewed_at)
