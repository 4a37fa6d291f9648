"""How contacts of apps are named, and how long we ask for their numbers: pure rules.

A uid reveals nothing of what it was made from. Whose contact it is can be told from an anonymous one alone.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from uuid import UUID

from domain.ids import Ids

_ANONYMOUS, _FIELD = "anon-", "field-"
_ANONYMOUS_UID = re.compile(_ANONYMOUS + r"([0-9a-f]{32})")

DELAY_S_FIRST = 1.0
DELAY_S_MAX = 600.0
GROWTH = 2.0
TRIES_MAX = 140
"""With the delays between them a day. A contact data service that is away for so long is somebody's business: the
change goes to TRIAGE. Counted in tries, since days on which nobody asked say nothing of the service.
"""


def field_uid(ids: Ids, realm: str, field: int, value: str, *, encrypted: bool = False, life: int = 0) -> str:
    """The uid of the contact that has `value` in a contact field of the merchant's.

    life: how often whoever it names was erased. An erased contact never comes back: who says the value again is
    somebody new.

    An encrypted value is another one than the same letters in clear: else whoever knows a value could change whom its
    contact's number is asked for.
    """
    kind = "encrypted-contact-field" if encrypted else "contact-field"
    if life:
        kind = f"{kind}-{life}"
    return _FIELD + ids.derive(realm, kind, f"{field}|{value}").hex


def anonymous_uid(client: UUID) -> str:
    """The uid of whoever has this client, as long as nobody says who that is. The same on each call."""
    return _ANONYMOUS + client.hex


def anonymous_client(uid: str) -> UUID | None:
    """The client of an anonymous contact, None for any other uid."""
    found = _ANONYMOUS_UID.fullmatch(uid)
    return UUID(found[1]) if found else None


def next_asking(*, tries: int, now: datetime, jitter: float) -> datetime | None:
    """When to ask again, None when we have asked long enough. tries: made so far, from 1. jitter: 0 to 1."""
    if tries >= TRIES_MAX:
        return None
    grown_s = min(DELAY_S_FIRST * GROWTH ** (tries - 1), DELAY_S_MAX)
    return now + timedelta(seconds=grown_s * (1.0 + 0.2 * jitter))
