"""Reports, versions and the ping, as the original answers them; events for those who run the exchange."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api import cursor
from api.cursor import Page
from api.msgxc.messages import MessageView, view_of
from api.route import Answer, Call, Route, Who
from domain.aggregate import ENVELOPE_FIELDS, Event
from domain.errors import Unavailable
from domain.recorded import Recorded
from domain.text.number import whole_number
from projections import catalogue, messages

GROUP = "reports"
REPORT_ROWS = 200
RECENT_DAYS = 92
"""How far back the report of recent messages looks."""
SCAN_ROUNDS_MAX = 10
"""Pages of the log read for one answer, when most events are of other realms."""


class VersionView(msgspec.Struct, frozen=True):
    version: str


class AfterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """after: a position (0 is the beginning) or `next` of the page before."""

    after: str = "0"
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One fact, with its envelope. Sealed fields are left out of data."""

    position: int
    topic: str
    subject: str
    version: int
    id: str
    at: datetime
    actor: str
    causation: str
    correlation: str
    hash: str
    data: dict[str, Any]


async def ping(_: Call[None, None]) -> Answer:
    return Answer(b"200 OK", media_type="text/plain; charset=utf-8")


async def report(call: Call[None, None]) -> Answer:
    parts, realm = call.parts, call.caller.realm
    match call.path["name"]:
        case "messages_recent":
            now = parts.clock()
            since = now - timedelta(days=RECENT_DAYS)
            rows = await messages.recent(parts.models, realm, since=since, now=now, limit=REPORT_ROWS)
        case "messages_upcoming":
            rows = await messages.upcoming(parts.models, realm, limit=REPORT_ROWS)
        case _:
            rows = []
    return Answer([view_of(row, row["totals"] or {}) for row in rows])


async def database_version(_: Call[None, None]) -> Answer:
    """The version of the read models' tables: the sum of the projections' versions, so that any change shows."""
    return Answer(VersionView(str(sum(projection.version for projection in catalogue.ALL))))


async def software_version(call: Call[None, None]) -> Answer:
    return Answer(VersionView(call.parts.settings.version))


async def list_events(call: Call[None, AfterQuery]) -> Answer:
    """The realm's events after a position, oldest first; `next` is always there, to ask again later."""
    reader, realm, limit = call.parts.events, call.caller.realm, call.query.limit
    epoch = await reader.epoch()
    query = f"events|{realm}"
    position = _after(call, query, epoch)
    found: list[Recorded] = []
    for _ in range(SCAN_ROUNDS_MAX):
        batch = await reader.after(position, limit)
        for fact in batch:
            position = fact.position
            if fact.realm == realm:
                found.append(fact)
                if len(found) == limit:
                    break
        if len(found) == limit or len(batch) < limit:
            break
    following = cursor.give(call.parts.ids, query, position, epoch=epoch)
    return Answer(Page([event_view(fact) for fact in found], following))


def _after(call: Call[None, AfterQuery], query: str, epoch: str) -> int:
    after = call.query.after
    position = whole_number(after)
    if position is not None:
        return position
    return cursor.take(call.parts.ids, after, query, int, epoch=epoch, field="after")


def event_view(fact: Recorded) -> EventView:
    event = fact.body
    assert isinstance(event, Event)
    fields = {
        name: value
        for name, value in msgspec.to_builtins(event).items()
        if name not in ENVELOPE_FIELDS and name not in event.SEALED
    }
    return EventView(
        position=fact.position,
        topic=fact.topic,
        subject=fact.subject,
        version=event.originator_version,
        id=str(event.originator_id),
        at=fact.at,
        actor=fact.actor,
        causation=fact.causation,
        correlation=fact.correlation,
        hash=fact.digest,
        data=fields,
    )


def _ping(path: str) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=ping,
        who=Who.ANYONE,
        answer=str,
        media_type="text/plain",
        summary="Whether anyone is there.",
        group=GROUP,
    )


ROUTES = (
    _ping("/ping"),
    _ping("/api/v2/ping"),
    Route(
        method="GET",
        path="/api/v2/reports/{name}",
        handler=report,
        who=Who.ADMIN,
        answer=list[MessageView],
        reads=("messages",),
        summary="messages_recent (newest first) or messages_upcoming (scheduled, soonest first); others are empty.",
        group=GROUP,
        errors=(Unavailable,),
    ),
    Route(
        method="GET",
        path="/api/v2/status/dbver",
        handler=database_version,
        who=Who.ANYONE,
        answer=VersionView,
        summary="The version of the read models.",
        group=GROUP,
    ),
    Route(
        method="GET",
        path="/api/v2/status/xasver",
        handler=software_version,
        who=Who.ANYONE,
        answer=VersionView,
        summary="The version of the software.",
        group=GROUP,
    ),
    Route(
        method="GET",
        path="/api/v2/events",
        handler=list_events,
        who=Who.ADMIN,
        query=AfterQuery,
        answer=Page[EventView],
        summary="The realm's events after a position, oldest first.",
        group=GROUP,
        errors=(Unavailable,),
    ),
)
