"""Times in the questions to a shop's archive."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from api.http.problem import decoding_error
from domain.errors import Invalid

Moment = Annotated[
    str,
    Meta(
        description="RFC 3339, with a zone: 2023-12-18T10:30:00Z.", extra_json_schema={"format": "date-time"}
    ),
]
"""Of a query. Not as a datetime: read from a query, msgspec takes a bare number for seconds."""


def bounds(since: Moment | None, until: Moment | None) -> tuple[datetime | None, datetime | None]:
    """Of `since <= time < until`, in UTC. Raises Invalid."""
    first, end = _moment(since, field="since"), _moment(until, field="until")
    if first is not None and end is not None and first >= end:
        raise Invalid("there is no time from since on up to before it", field="until")
    return first, end


def _moment(text: Moment | None, *, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        at: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise Invalid(decoding_error(error, of=field).detail, field=field) from None
    # The first and the last year have no room for a zone.
    if not MINYEAR < at.year < MAXYEAR:
        raise Invalid("this time cannot be", field=field)
    return at.astimezone(UTC)
